"""Complete FDTA: every stage, key, matching and loss equals the released code on formula-filled weights."""

import re
from dataclasses import replace

import pytest
import torch

from _helpers.detector_stages import assert_stages, complete, record, stack_boxes
from _helpers.golden import ATOL, RTOL, image, numbers, padding, read_pack, scripted_detections
from fdta_adapters import FDTA, FDTA_RELEASED, DepthBins, IdentityAdapterPlugin, SpatialAdapterPlugin, depth_position
from fdta_adapters.plugins.released_weights import BIN_VALUES
from mot_core.nn import IdentityMemory, SetCriterion, TrackTokens
from mot_core.slots import take
from mot_core.structures import ClipOutput, FrameOutput, FrameTargets
from mot_core.trackers import MOTIP
from mot_core.trackers.released_plugins import attach_released, import_released


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "fdta")


@pytest.fixture(scope="module")
def state(pack):
    bins, d_min, d_max = numbers(r"(\d+) depth bins, ([\d.e-]+)\.\.([\d.]+)", pack.data["description"])
    index = torch.arange(int(bins), dtype=torch.float64)
    edges = d_min + (d_max - d_min) / (bins * (bins + 1)) * index * (index + 1)
    return pack.state_dict({BIN_VALUES: torch.cat([edges, edges.new_tensor([d_max])])})


def released(pack):
    """Arguments of the released code, with the numbers of the pack."""
    note = pack.data["behaviour_notes"]
    settings = {name: dict(arguments) for name, arguments in FDTA_RELEASED.items()}
    bins, d_min, d_max = numbers(r"(\d+) depth bins, ([\d.e-]+)\.\.([\d.]+)", pack.data["description"])
    (weight,) = numbers(r"weighted (\d+) inside", note["depth_loss"])
    (smoothing,) = numbers(r"has ([\de.-]+) added", note["depth_loss"])
    (tau,) = numbers(r"tau \(([\d.]+)\)", note["contrastive"])
    start, chunk = numbers(r"epoch=(\d+), batch_len=(\d+)", pack.data["description"])
    (quality,) = numbers(r"below ([\d.]+) are dropped", pack.data["extra"]["identity_adapter"]["quality"])
    settings["spatial"] |= {"num_bins": int(bins), "d_min": d_min, "d_max": d_max, "foreground_weight": weight}
    settings["spatial"] |= {"smoothing": smoothing}
    settings["identity"] |= {"tau": tau, "chunk": int(chunk), "start_epoch": int(start), "min_quality": quality}
    return settings


@pytest.fixture(scope="module")
def built(pack, state):
    """A MOTIP with all adapters, loaded with the importer."""
    with torch.device("meta"):
        tracker = MOTIP().double()
        FDTA(**released(pack)).attach(tracker)
        tracker.setup()
    report = import_released(tracker.double(), state)
    head = pack.data["extra"]["identity_adapter"]["head_keys"]
    own = tracker.plugins["fdta_identity"].adapter.head
    filled = {
        name.removeprefix("track_embed."): pack._fill(name, shape, "", k, {}) for k, (name, shape) in enumerate(head)
    }
    own.load_state_dict(filled, assign=True)
    return tracker.eval().requires_grad_(False), report


@pytest.fixture(scope="module")
def inputs(pack):
    rules = pack.data["inputs"]
    size = rules["batch"], rules["height"], rules["width"]
    mask = padding(*size, rules["mask"])
    scale, along_x, along_y = numbers(
        r"floor\(([\d.]+)\*\(1\+sin\(([\d.]+)x\+([\d.]+)y\+b\+variant\)\)\)", rules["depth_rule"]
    )
    b, y, x = (
        torch.arange(n, dtype=torch.float64).reshape([-1 if i == dim else 1 for i in range(3)])
        for dim, n in enumerate(size)
    )
    depth = (scale * (1 + (along_x * x + along_y * y + b + rules["variant"]).sin())).floor().masked_fill(mask, 0)
    boxes, labels, ids = stack_boxes(pack.data["criterion"]["targets"])
    targets = FrameTargets(boxes, labels, ids, labels >= 0, {"depth": depth[:, None]})
    return image(*size, phase=rules["image_phase"], mask=mask), mask, targets


@pytest.fixture(scope="module")
def run(built, inputs):
    """Every stage of one pass over two frames, by the names of the pack."""
    tracker, _ = built
    images, mask, targets = inputs
    stages = record(tracker.detector)
    adapter = tracker.plugins["fdta_spatial"].adapter

    def keep(name, module, pick):
        module.register_forward_hook(lambda _, arguments, output: stages.update({name: pick(output)}))

    keep("depth_feature_dense", adapter.extractor, lambda output: output)
    keep(
        "depth_encoder_out_tokens_first (tokens, batch, C)", adapter.encoder[-1], lambda output: output.transpose(0, 1)
    )
    keep(
        "decoder_layer0_depth_attention_out (tokens, batch, C)",
        adapter.cross[0].attention,
        lambda output: output[0].transpose(0, 1),
    )
    keep("decoder_layer0_after_depth_norm", adapter.cross[0], lambda output: output)
    ctx = tracker.plugins.start_clip(training=False, epoch=1)
    output, pyramid = tracker.detect(images, mask, ctx.at(0, targets))
    complete(stages, pyramid, output)
    depth = ctx.store["fdta_spatial"]["state"]
    shape = *depth.depth.shape, -1
    stages["depth_logits"], stages["expected_depth"] = depth.logits, depth.depth
    stages["depth_embed_used_by_decoder"] = depth.memory.view(shape).permute(0, 3, 1, 2)
    stages["depth_position_embed"] = depth_position(depth.depth, adapter.position.weight).permute(0, 3, 1, 2)
    return stages, output, ctx


def test_every_key_is_used(pack, built):
    tracker, report = built
    assert set(report.used) == {name for name, *_ in pack.data["keys"]}
    assert (report.unused, report.missing, report.remade) == ({}, (), {})
    loaded = set(report.used.values()) - {"plugins.fdta_spatial.adapter.bins"}
    assert loaded == {name for name in tracker.state_dict() if not name.startswith("plugins.fdta_identity.")}
    shapes = {name: list(tensor.shape) for name, tensor in tracker.state_dict().items()}
    assert all(shapes[report.used[name]] == shape for name, shape, *_ in pack.data["keys"] if name != BIN_VALUES)


def test_importer_chooses_plugins_and_settings(pack, state):
    with torch.device("meta"):
        tracker = MOTIP()
        attach_released(tracker, state)
    assert list(tracker.plugins) == ["fdta_spatial", "fdta_temporal"]
    spatial = tracker.plugins["fdta_spatial"]
    bins = released(pack)["spatial"]
    assert spatial.bins == DepthBins(bins["num_bins"], bins["d_min"], bins["d_max"], "left_edge")
    assert spatial.settings["residual"] == "postnorm"
    other = SpatialAdapterPlugin(num_bins=bins["num_bins"], d_max=200.0, bin_value="left_edge")
    other.setup(tracker.spec)
    with pytest.raises(ValueError, match=r"depth_bin_values: expected the values of .*, got others"):
        other.import_weights(state)


def test_every_stage(pack, run):
    assert_stages(pack, run[0])


def matched_frames(output, targets, matching):
    """Return two frames and their targets, with the matching of the pack."""
    frames, truths = [], []
    for row, (queries, objects) in enumerate(matching):
        index = torch.full(output.logits.shape[2:3], -1)
        index[queries] = torch.tensor(objects)
        one = slice(row, row + 1)
        logits, boxes, hidden = (value[-1, one] for value in (output.logits, output.boxes_cxcywh, output.hidden))
        frames.append(
            FrameOutput(
                boxes, logits, index[None] >= -1, torch.ones(1, 2), torch.tensor([row]), gt_index=index[None],
                embeddings=hidden,
            )
        )  # fmt: skip
        fields = {name: getattr(targets, name)[one] for name in targets.SHAPES}
        truths.append(FrameTargets(**fields, extras={"depth": targets.extras["depth"][one]}))
    return ClipOutput(frames, truths)


def test_matchings_and_losses(pack, built, inputs, run):
    tracker, _ = built
    expected, extra = pack.data["criterion"], pack.data["extra"]["identity_adapter"]
    _, output, ctx = run
    targets = inputs[2]
    losses, gt_index = SetCriterion()(output, targets)
    for layer, matching in enumerate(expected["matching_aux_layers"]):
        for frame, (queries, objects) in enumerate(matching):
            found = gt_index[layer, frame]
            assert (found >= 0).nonzero().squeeze(1).tolist() == queries
            assert found[queries].tolist() == objects
    # The released criterion returns the matching of the last auxiliary layer; the contrastive loss uses the last one.
    assert expected["matching_last_layer"] == expected["matching_aux_layers"][-1]
    for frame, (queries, objects) in enumerate(extra["matched"]):
        assert gt_index[-1, frame][queries].tolist() == objects

    clip = matched_frames(output, targets, extra["matched"])
    identity = tracker.plugins["fdta_identity"]
    _, _, quality, _, frames = identity._collect(clip, clip.targets)
    quality_by_frame = [quality[frames == time].tolist() for time in range(len(clip.frames))]
    for found, wanted in zip(quality_by_frame, extra["quality_values"], strict=True):
        assert found == pytest.approx(wanted, rel=RTOL, abs=ATOL)
    ours = {"class": "loss_ce", "l1": "loss_bbox", "giou": "loss_giou"}
    values = {ours[name.split("_")[0]] + name[len(name.split("_")[0]) :]: loss for name, loss in losses.items()}
    for name, loss in tracker.plugins.losses(clip, ctx).items():
        renamed = {"fdta_spatial/loss": "loss_depth_map", "fdta_identity/loss": "loss_contrastive"}
        if name in renamed:
            values[renamed[name]] = loss
    logged = ("class_error", "cardinality_error")
    official = {name: value for name, value in expected["losses"].items() if not name.startswith(logged)}
    assert set(values) == set(official)
    for name, value in official.items():
        assert values[name].item() == pytest.approx(value, rel=RTOL, abs=ATOL), name
    total = sum(weight * values[name].item() for name, weight in expected["weights"].items())
    assert total == pytest.approx(expected["weighted_total"], rel=RTOL)

    assert extra["loss_depth_map"] == pytest.approx(values["loss_depth_map"].item(), rel=RTOL)
    early = identity.on_clip_loss(clip, replace(ctx, epoch=0))["loss"]
    assert early.item() == extra["loss_contrastive_epoch0"]
    single = IdentityAdapterPlugin(**(released(pack)["identity"] | {"chunk": 1}))
    single.setup(tracker.spec)
    single.adapter.head = identity.adapter.head
    assert single.on_clip_loss(clip, ctx)["loss"].item() == extra["loss_contrastive_batch_len_1"]


def test_temporal_adapter(pack, built):
    adapter = built[0].plugins["fdta_temporal"].adapter
    expected = pack.data["extra"]["temporal_adapter"]
    shape = [int(size) for size in re.search(r"\(([\d,]+)\)", expected["input_rule"])[1].split(",")]
    scale, k = numbers(r"([\d.]+)\*u\(n, k=(\d+)\)", expected["input_rule"])
    missing = torch.zeros(shape[1:4], dtype=torch.bool)
    for entry in expected["missing_gtn"]:
        missing[tuple(entry)] = True
    x = (scale * pack.filled(int(k), *shape))[0].masked_fill(missing[..., None], 0)
    adapter.zero_missing = False  # the pack contains the outputs at missing frames
    try:
        refined = adapter(x.transpose(1, 2), missing.transpose(1, 2)).transpose(1, 2)
    finally:
        adapter.zero_missing = True
    pack.compare(expected["output"], refined[None])
    pack.compare(expected["per_position_l2"], refined.norm(dim=-1))
    kept = refined[~missing].sum().item()
    assert kept == pytest.approx(expected["output_valid_only_sum"], rel=RTOL, abs=ATOL * refined.numel())


def test_identities_end_to_end(pack, built):
    tracker, _ = built
    rules = pack.data["extra"]["runtime_end_to_end"]
    settings = rules["settings"]
    (factor,) = numbers(r"multiplied by ([\d.]+)", settings["embed_to_word"])
    memory = IdentityMemory(
        settings["num_id_vocabulary"], settings["miss_tolerance"] - 1, settings["newborn_thresh"], settings["id_thresh"]
    )
    width = tracker.detector.embed_dim
    adapter = tracker.plugins["fdta_temporal"].adapter
    weight = tracker.id_decoder.embed_to_word.weight
    weight.mul_(factor)
    try:
        script = scripted_detections(pack, rules, width)
        for t, ((embeddings, scores, centers), expected) in enumerate(zip(script, rules["expected"], strict=True)):
            kept = scores > settings["det_thresh"]
            embeddings, scores, centers = embeddings[kept], scores[kept], centers[kept]
            logits, history = None, memory.tokens()
            if history is not None:
                missing = ~history.valid
                refined = adapter(history.embeddings.transpose(1, 2), missing.transpose(1, 2)).transpose(1, 2)
                now = torch.full((1, 1, len(scores)), history.times.shape[1])
                current = TrackTokens(embeddings[None, None], now >= 0, now)
                history = replace(history, embeddings=tracker.trajectory_model(refined))
                logits = tracker.id_decoder(history, current)[0, 0]
                probabilities = logits.softmax(-1)
                if "id_prob_max" in expected:
                    assert probabilities.amax(-1).tolist() == pytest.approx(expected["id_prob_max"], rel=RTOL, abs=ATOL)
                    assert probabilities.argmax(-1).tolist() == expected["id_argmax"]
            ids = memory.update(embeddings, scores, logits)
            assert ids[ids >= 0].tolist() == expected["ids"], t
            assert scores[ids >= 0].tolist() == pytest.approx(expected["scores"])
            assert centers[ids >= 0].tolist() == pytest.approx(expected["cx_norm"])
    finally:
        weight.div_(factor)


def test_tracking_uses_the_temporal_adapter(built):
    """The tracker's own path from memory to logits passes through the plug-in."""
    tracker, _ = built
    torch.manual_seed(0)
    history = torch.randn(1, 2, 3, tracker.detector.embed_dim, dtype=torch.float64)
    valid = torch.tensor([[[True, True, False], [True, False, True]]])
    from mot_core.structures import TrackState

    tracks = TrackState(torch.tensor([[4, 7]]), valid[..., 0], history=history, history_valid=valid)
    ctx = tracker.plugins.start_clip(training=False).at(3)
    refined = tracker.plugins.on_tracks_update(None, tracks, ctx).history
    wanted = tracker.plugins["fdta_temporal"].adapter(history, ~valid)
    assert torch.equal(refined, wanted)
    assert take(refined.flatten(0, 1), torch.tensor([[0], [0]])).abs().sum() > 0
