"""Our trajectory modelling and ID decoder give MOTIP's numbers on formula-filled weights."""

import pytest
import torch
from golden import ATOL, RTOL, read_pack

from mot_core.checkpoints import load_motip
from mot_core.nn import DeformableDETR, IDDecoder, ResNet50, TrackTokens, TrajectoryModel, id_loss


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "motip")


@pytest.fixture(scope="module")
def built(mot_golden, pack):
    """All of a released MOTIP: its detector is in a pack of its own."""
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
    """Training style for two groups, then inference style on the history of the first."""
    _, trajectory_model, id_decoder, *_ = built
    info = pack.data["seq_info"]
    shape = (2, 4, 5)
    times = torch.arange(4)[:, None].expand(shape).contiguous()
    seen = absent(info["trajectory_missing_gtn"], shape)
    wanted = absent(info["unknown_missing_gtn"], shape)
    raw = 1.5 * pack.filled(900, 1, *shape, 256)[0] * seen[..., None]
    words = torch.tensor(info["trajectory_id_labels_per_group"])[:, None].expand(shape)
    history = TrackTokens(trajectory_model(raw), seen, times, words)
    current = TrackTokens(1.5 * pack.filled(910, 1, *shape, 256)[0] * wanted[..., None], wanted, times)
    logits = id_decoder(history, current)

    layers = []
    hooks = [ffn.register_forward_hook(lambda _, given, output: layers.append(output)) for ffn in id_decoder.ffns]
    first = TrackTokens(*(tensor[:1] for tensor in (history.embeddings, seen, times, words)))
    new = pack.filled(920, 1, 1, 3, 256) * 1.5
    asked = TrackTokens(new, torch.ones(1, 1, 3, dtype=torch.bool), torch.full((1, 1, 3), 4))
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


def test_trajectory_modelling(pack, run):
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


def test_the_motip_in_fdta(mot_golden):
    """Of the complete FDTA checkpoint everything but its adapters is MOTIP's."""
    pack = read_pack(mot_golden, "fdta")
    with torch.device("meta"):
        parts = DeformableDETR(ResNet50()), TrajectoryModel(), IDDecoder()
        state = {name: torch.empty(shape) for name, shape, *_ in pack.data["keys"]}
        # What is stored twice is one tensor (others would be compared, which "meta" cannot).
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
