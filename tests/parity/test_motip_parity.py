"""Our trajectory modeling, ID decoder and stream identities equal MOTIP's on formula-filled weights."""

import re
from dataclasses import replace

import pytest
import torch

from _helpers.golden import ATOL, RTOL, numbers, read_pack, scripted_detections
from mot_core.nn import DeformableDETR, IDDecoder, IdentityMemory, ResNet50, TrackTokens, TrajectoryModel, id_loss
from mot_core.trackers import MOTIP
from mot_core.trackers.motip import load_motip


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "motip")


@pytest.fixture(scope="module")
def built(mot_golden, pack):
    """A complete released MOTIP; its detector is in a separate pack."""
    with torch.device("meta"):
        parts = DeformableDETR(ResNet50()).double(), TrajectoryModel().double(), IDDecoder().double()
    state = read_pack(mot_golden, "deformable_detr").state_dict() | pack.state_dict()
    report = load_motip(*parts, state)
    return *(part.eval().requires_grad_(False) for part in parts), report, state


def absent(entries, shape):
    """Entries (group, time, slot) that are missing, as ``valid (G, T, N)``."""
    valid = torch.ones(shape, dtype=torch.bool)
    for entry in entries:
        valid[tuple(entry)] = False
    return valid


@pytest.fixture(scope="module")
def run(pack, built):
    """Training mode for two groups, then inference mode on the history of the first."""
    _, trajectory_model, id_decoder, *_ = built
    info = pack.data["seq_info"]
    sizes = {name: int(size) for name, size in (part.split("=") for part in info["shape"].split(","))}
    shape = tuple(sizes[name] for name in "GTN")
    times = torch.arange(sizes["T"])[:, None].expand(shape).contiguous()
    seen = absent(info["trajectory_missing_gtn"], shape)
    wanted = absent(info["unknown_missing_gtn"], shape)
    raw = pack.described(info["trajectory_features"], shape=sizes.values())[0] * seen[..., None]
    words = torch.tensor(info["trajectory_id_labels_per_group"])[:, None].expand(shape)
    history = TrackTokens(trajectory_model(raw), seen, times, words)
    unknown = pack.described(info["unknown_features"], shape=sizes.values())[0] * wanted[..., None]
    current = TrackTokens(unknown, wanted, times)
    logits = id_decoder(history, current)

    layers = []
    hooks = [ffn.register_forward_hook(lambda _, given, output: layers.append(output)) for ffn in id_decoder.ffns]
    first = TrackTokens(*(tensor[:1] for tensor in (history.embeddings, seen, times, words)))
    rule = pack.data["inference_style"]["unknown_features"]
    new = pack.described(rule)[0]
    time = int(re.search(r"time (\d+)", rule)[1])
    asked = TrackTokens(new, torch.ones(new.shape[:3], dtype=torch.bool), torch.full(new.shape[:3], time))
    answer = id_decoder(first, asked)
    for hook in hooks:
        hook.remove()
    return history, current, logits, layers, answer


def test_every_key_is_used(built):
    *parts, report, state = built
    assert set(report.used) == set(state)
    assert (report.unused, report.missing, report.remade) == ({}, (), {})
    names = zip(("detector", "trajectory_model", "id_decoder"), parts, strict=True)
    assert set(report.used.values()) == {f"{name}.{key}" for name, part in names for key in part.state_dict()}


def test_trajectory_modeling(pack, run):
    pack.compare("trajectory_features_after_modeling", run[0].embeddings[None])


def test_id_decoder(pack, run):
    _, current, logits, layers, answer = run
    pack.compare("id_logits", logits[None])
    valid_sum = pack.data["stages"]["id_logits_valid_only_sum"]["sum"]
    assert logits[current.valid].sum().item() == pytest.approx(valid_sum, rel=RTOL)
    assert logits.argmax(-1).tolist() == pack.data["stages"]["id_logits_argmax"]["values"]
    for layer, tokens in enumerate(layers):
        pack.compare(f"id_layer{layer}_unknown_embeds", tokens[None, None])
    pack.compare(pack.data["inference_style"]["id_logits"], answer[None])
    pack.compare(pack.data["inference_style"]["id_logits_first_row"], answer[0, 0, 0])


def test_id_loss(pack, run):
    _, current, logits, *_ = run
    expected = pack.data["id_loss"]
    words = torch.tensor(pack.data["seq_info"]["unknown_id_labels"])
    assert current.valid[:, 1:].sum().item() == expected["supervised_entries"]
    loss = id_loss(logits, words, current.valid)
    assert loss.item() == pytest.approx(expected["cross_entropy"], rel=RTOL, abs=ATOL)


def test_motip_part_of_fdta_checkpoint(mot_golden):
    """Except for its adapters, the complete FDTA checkpoint is MOTIP's."""
    pack = read_pack(mot_golden, "fdta")
    with torch.device("meta"):
        parts = DeformableDETR(ResNet50()), TrajectoryModel(), IDDecoder()
        state = {name: torch.empty(shape) for name, shape, *_ in pack.data["keys"]}
        # Keys stored twice share one tensor (others would be compared, which "meta" does not support).
        for name, _, *remark in pack.data["keys"]:
            if remark and remark[0].startswith("alias_of:"):
                state[name] = state[remark[0].removeprefix("alias_of:")]
    report = load_motip(*parts, state)
    assert len(report.used) + len(report.unused) == len(pack.data["keys"]) == 859
    assert (report.missing, report.remade) == ((), {})
    adapters = ("detr.depth_predictor.", "trajectory_embedding.")
    rest = {name for name in report.unused if not name.startswith(adapters)}
    assert rest == {name for name in state if ".cross_attn_depth." in name or ".norm_depth." in name}
    assert set(report.unused.values()) == {"no such key in the model"}


def test_identities_of_scripted_outputs(pack):
    script = pack.data["runtime_scripted_logits"]
    settings = script["settings"]
    memory = IdentityMemory(
        settings["num_id_vocabulary"], settings["miss_tolerance"] - 1, settings["newborn_thresh"], settings["id_thresh"]
    )
    for frame, expected in zip(script["frames"], script["expected_object-max"], strict=True):
        scores = torch.tensor(frame["scores"], dtype=torch.float64)
        kept = scores > settings["det_thresh"]
        logits = torch.tensor(frame["id_logits"], dtype=torch.float64).reshape(len(scores), -1)[kept]
        ids = memory.update(torch.zeros(len(logits), 1), scores[kept], logits if len(logits) else None)
        assert ids[ids >= 0].tolist() == expected["ids"]
        assert scores[kept][ids >= 0].tolist() == expected["scores"]
        assert [word for word in memory.queue if memory.identities.get(word) in expected["ids"]] == expected["labels"]
        assert memory.queue == expected["next_label_queue"]
        assert memory.words == expected["history_labels"]
        assert memory.tokens().valid.shape[1] == expected["history_rows"]


def test_identities_end_to_end(pack, built):
    _, trajectory_model, id_decoder, *_ = built
    rules = pack.data["runtime_end_to_end"]
    settings = rules["settings"]
    (factor,) = numbers(r"multiplied by ([\d.]+)", settings["embed_to_word"])
    memory = IdentityMemory(
        settings["num_id_vocabulary"], settings["miss_tolerance"] - 1, settings["newborn_thresh"], settings["id_thresh"]
    )
    weight = id_decoder.embed_to_word.weight
    weight.mul_(factor)
    try:
        script = scripted_detections(pack, rules, trajectory_model.ffn.linear2.out_features)
        for t, ((embeddings, scores, centers), expected) in enumerate(zip(script, rules["expected"], strict=True)):
            kept = scores > settings["det_thresh"]
            embeddings, scores, centers = embeddings[kept], scores[kept], centers[kept]
            logits, history = None, memory.tokens()
            if history is not None:
                now = torch.full((1, 1, len(scores)), history.times.shape[1])
                current = TrackTokens(embeddings[None, None], now >= 0, now)
                history = replace(history, embeddings=trajectory_model(history.embeddings))
                logits = id_decoder(history, current)[0, 0]
            ids = memory.update(embeddings, scores, logits)
            assert ids[ids >= 0].tolist() == expected["ids"], t
            assert scores[ids >= 0].tolist() == pytest.approx(expected["scores"])
            assert centers[ids >= 0].tolist() == pytest.approx(expected["cx_norm"])
    finally:
        weight.div_(factor)


def test_tracker_loads_motip_part_of_fdta_checkpoint(mot_golden):
    """Loaded through the tracker, with its own names."""
    pack = read_pack(mot_golden, "fdta")
    with torch.device("meta"):
        tracker = MOTIP()
        state = {name: torch.empty(shape) for name, shape, *_ in pack.data["keys"]}
        for name, _, *remark in pack.data["keys"]:
            if remark and remark[0].startswith("alias_of:"):
                state[name] = state[remark[0].removeprefix("alias_of:")]
    report = tracker.import_weights(state)
    assert len(report.used) + len(report.unused) == 859
    assert (report.missing, report.remade) == ((), {})
    assert set(report.used.values()) == set(tracker.state_dict())
    adapters = ("depth_predictor", "trajectory_embedding", "cross_attn_depth", "norm_depth")
    assert all(any(part in name for part in adapters) for name in report.unused)
