"""Stages of one forward pass of a Deformable DETR, by the names of the golden packs."""

import torch


def record(detector):
    """Register hooks that record intermediate outputs, and return the dict that they fill."""
    stages = {}

    def keep(name, module, pick=lambda arguments, output: output):
        module.register_forward_hook(lambda _, arguments, output: stages.update({name: pick(arguments, output)}))

    keep("backbone", detector.backbone)
    keep("encoder_memory", detector.encoder)
    keep("encoder_layer0_attention_out", detector.encoder.layers[0].self_attn)
    keep("encoder_layer0_attention_reference", detector.encoder.layers[0].self_attn, lambda given, _: given[1])
    for index, layer in enumerate(detector.encoder.layers):
        keep(f"encoder_layer{index}", layer)
    for index in (0, 1):
        keep(f"decoder_layer{index}_cross_attention_out", detector.decoder.layers[index].cross_attn)
    keep("decoder_layer1_attention_reference", detector.decoder.layers[1].cross_attn, lambda given, _: given[1])
    return stages


def complete(stages, pyramid, output):
    """Add the pyramid and the predictions of every layer."""
    for index, level in enumerate(stages.pop("backbone")):
        stages[f"backbone_level{index}"] = level
    for name, maps in (("projected", pyramid.levels), ("mask", pyramid.masks), ("position", pyramid.positions)):
        stages |= {f"{name}_level{index}": level for index, level in enumerate(maps)}
    stages["init_reference"] = output.references[0]
    last = len(output.hidden) - 1
    for index in range(last + 1):
        stages[f"decoder_layer{index}_hidden"] = output.hidden[index]
        stages[f"decoder_layer{index}_reference_out"] = output.boxes_cxcywh[index]
        prefix = f"aux{index}_" if index < last else ""
        stages[f"{prefix}pred_logits"] = output.logits[index]
        stages[f"{prefix}pred_boxes"] = output.boxes_cxcywh[index]
    stages["pred_boxes_first_12_queries"] = output.boxes_cxcywh[-1, :, :12]
    stages["outputs"] = output.hidden[-1]


def assert_stages(pack, stages):
    """Assert that all stages of a pack, and no others, were recorded with its numbers."""
    assert set(stages) == set(pack.data["stages"])
    for name, expected in pack.data["stages"].items():
        if "true_count_per_frame" in expected:
            assert list(stages[name].shape) == expected["shape"], name
            assert stages[name].flatten(1).sum(1).tolist() == expected["true_count_per_frame"], name
        else:
            pack.compare(name, stages[name])


def stack_boxes(frames):
    """Return boxes, labels and identities of the frames of a pack, padded to one size with -1."""
    size = max(len(frame["labels"]) for frame in frames)
    boxes = torch.zeros(len(frames), size, 4, dtype=torch.float64)
    labels = torch.full((len(frames), size), -1)
    ids = labels.clone()
    for row, frame in enumerate(frames):
        count = len(frame["labels"])
        boxes[row, :count] = torch.tensor(frame["boxes_cxcywh"], dtype=torch.float64)
        labels[row, :count] = torch.tensor(frame["labels"])
        ids[row, :count] = torch.tensor(frame["ids"])
    return boxes, labels, ids
