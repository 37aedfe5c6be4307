"""The ID decoder against a plain loop, and the tokens that a detection may attend to."""

from dataclasses import replace

import pytest
import torch

from mot_core.nn import IDDecoder, TrackTokens, TrajectoryModel, id_loss

LAYERS, HEADS, WORDS = 2, 2, 6


def make(seed=0):
    torch.manual_seed(seed)
    decoder = IDDecoder(
        embed_dim=8, word_dim=8, num_words=WORDS, num_layers=LAYERS, head_dim=8, max_distance=3
    ).double()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return decoder.eval()


def make_tokens(times, slots, batch=2, seed=0, words=True, missing=()):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, len(times), slots)
    valid = torch.ones(shape, dtype=torch.bool)
    for entry in missing:
        valid[entry] = False
    return TrackTokens(
        torch.randn(*shape, 8, generator=generator, dtype=torch.float64),
        valid,
        torch.tensor(times)[:, None].expand(shape).contiguous(),
        torch.randint(WORDS, shape, generator=generator) if words else None,
    )


HISTORY = make_tokens([0, 1, 2, 3], 3, missing=[(0, 1, 2), (0, 2, 0), (1, 0, 1)])
CURRENT = make_tokens([0, 1, 2, 3], 4, seed=1, words=False, missing=[(0, 2, 3), (1, 3, 0)])


def heads_of(x, weight, bias, part):
    """Queries (0), keys (1) or values (2) of an attention, per head."""
    return (weight.chunk(3)[part] @ x + bias.chunk(3)[part]).view(HEADS, 8)


def attend(attention, query, keys, biases):
    """One query over a list of keys, with a bias per key and head, and an additional zero key."""
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    q = heads_of(query, weight, bias, 0)
    k = [heads_of(key, weight, bias, 1) for key in keys] + [torch.zeros(HEADS, 8).double()]
    v = [heads_of(key, weight, bias, 2) for key in keys] + [torch.zeros(HEADS, 8).double()]
    biases = [*biases, torch.zeros(HEADS).double()]
    scores = torch.stack([(q * key).sum(-1) / 8**0.5 + b for key, b in zip(k, biases, strict=True)])
    shares = scores.softmax(0)
    return attention.out_proj((shares[..., None] * torch.stack(v)).sum(0).flatten())


def plain(decoder, history, current, b):
    """One clip by the definition, a detection at a time."""
    embed = decoder.word_to_embed.weight
    known = {
        (t, m): torch.cat([history.embeddings[b, t, m], embed[:, history.words[b, t, m]]])
        for t in range(4)
        for m in range(3)
        if history.valid[b, t, m]
    }
    tokens = {(t, n): torch.cat([current.embeddings[b, t, n], embed[:, WORDS]]) for t in range(4) for n in range(4)}
    for layer in range(LAYERS):
        if layer > 0:
            seen = {
                (t, n): attend(
                    decoder.self_attns[layer - 1],
                    x,
                    [tokens[t, other] for other in range(4) if current.valid[b, t, other]],
                    [torch.zeros(HEADS).double()] * int(current.valid[b, t].sum()),
                )
                for (t, n), x in tokens.items()
            }
            tokens = {at: decoder.self_attn_norms[layer - 1](x + seen[at]) for at, x in tokens.items()}
        for (t, n), x in tokens.items():
            earlier = [at for at in known if at[0] < t]
            biases = [decoder.time_bias[layer, min(t - at[0], 2)] for at in earlier]
            x = decoder.cross_attn_norms[layer](
                x + attend(decoder.cross_attns[layer], x, [known[at] for at in earlier], biases)
            )
            tokens[t, n] = decoder.ffns[layer](x)
    return torch.stack([torch.stack([decoder.embed_to_word(tokens[t, n][8:]) for n in range(4)]) for t in range(4)])


@torch.no_grad()
def test_equals_a_loop():
    decoder = make()
    logits = decoder(HISTORY, CURRENT)
    for b in range(2):
        torch.testing.assert_close(logits[b], plain(decoder, HISTORY, CURRENT, b))


def test_attends_to_past_only():
    decoder = make()
    expected = decoder(HISTORY, CURRENT)
    embeddings, words = HISTORY.embeddings.clone(), HISTORY.words.clone()
    embeddings[:, 2:], words[:, 2:] = 7, 0
    changed = decoder(replace(HISTORY, embeddings=embeddings, words=words), CURRENT)
    assert torch.equal(changed[:, :3], expected[:, :3])
    assert not torch.allclose(changed[:, 3], expected[:, 3])


def test_absent_tokens_have_no_effect():
    decoder = make()
    expected = decoder(HISTORY, CURRENT)
    embeddings = HISTORY.embeddings.masked_fill(~HISTORY.valid[..., None], 99)
    words = HISTORY.words.masked_fill(~HISTORY.valid, 5)
    asked = CURRENT.embeddings.masked_fill(~CURRENT.valid[..., None], -99)
    changed = decoder(replace(HISTORY, embeddings=embeddings, words=words), replace(CURRENT, embeddings=asked))
    assert torch.equal(changed[CURRENT.valid], expected[CURRENT.valid])


def test_permutations_of_detections_and_tracks():
    decoder = make()
    expected = decoder(HISTORY, CURRENT)
    order = [2, 0, 3, 1]
    turned = TrackTokens(CURRENT.embeddings[:, :, order], CURRENT.valid[:, :, order], CURRENT.times)
    torch.testing.assert_close(decoder(HISTORY, turned), expected[:, :, order])
    order = [1, 2, 0]
    tracks = TrackTokens(*(getattr(HISTORY, name)[:, :, order] for name in ("embeddings", "valid", "times", "words")))
    torch.testing.assert_close(decoder(tracks, CURRENT), expected)


def test_clips_and_frames_are_independent():
    decoder = make()
    expected = decoder(HISTORY, CURRENT)
    for frame in range(4):
        alone = TrackTokens(*(getattr(CURRENT, name)[:, [frame]] for name in ("embeddings", "valid", "times")))
        torch.testing.assert_close(decoder(HISTORY, alone), expected[:, [frame]])


@pytest.mark.parametrize("tracks", [0, 3])
def test_finite_without_history(tracks):
    nothing = make_tokens([0], tracks)
    nothing = replace(nothing, valid=torch.zeros_like(nothing.valid))
    decoder = make()
    logits = decoder(nothing, CURRENT)
    assert logits.isfinite().all()
    assert decoder(HISTORY, make_tokens([4], 0, words=False)).shape == (2, 1, 0, WORDS + 1)


def test_distances_beyond_the_table_use_its_last_entry():
    decoder = make()
    near, far = (replace(CURRENT, times=CURRENT.times + later) for later in (8, 20))
    assert torch.equal(decoder(HISTORY, near), decoder(HISTORY, far))


def test_every_parameter_has_gradient():
    decoder, model = make().train(), TrajectoryModel(8, 16).double()
    words = torch.randint(WORDS + 1, CURRENT.valid.shape)
    history = replace(HISTORY, embeddings=model(HISTORY.embeddings))
    id_loss(decoder(history, CURRENT), words, CURRENT.valid).backward()
    for part in (decoder, model):
        assert [name for name, parameter in part.named_parameters() if not parameter.grad.any()] == []


def test_id_loss():
    logits = torch.randn(2, 4, 4, WORDS + 1, dtype=torch.float64, requires_grad=True)
    words = torch.randint(WORDS + 1, (2, 4, 4))
    rows = [
        -logits[b, t, n].log_softmax(-1)[words[b, t, n]]
        for b in range(2)
        for t in range(1, 4)
        for n in range(4)
        if CURRENT.valid[b, t, n]
    ]
    loss = id_loss(logits, words, CURRENT.valid)
    torch.testing.assert_close(loss, torch.stack(rows).mean())
    loss.backward()
    assert not logits.grad[:, 0].any()
    empty = id_loss(logits, words, torch.zeros_like(CURRENT.valid))
    assert empty.item() == 0
    empty.backward()
    assert id_loss(logits.bfloat16(), words, CURRENT.valid).dtype == torch.float32


def test_runs_on_device_of_inputs():
    """Every tensor is created on the device of the input; "meta" cannot be mixed with other devices."""
    names = ("embeddings", "valid", "times")
    history = TrackTokens(*(getattr(HISTORY, name).to("meta") for name in (*names, "words")))
    current = TrackTokens(*(getattr(CURRENT, name).to("meta") for name in names))
    assert make().to("meta")(history, current).shape == (2, 4, 4, WORDS + 1)


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"embed_dim \+ word_dim must be a multiple of head_dim, got 20 and 8"):
        IDDecoder(embed_dim=12, word_dim=8, head_dim=8)
    with pytest.raises(ValueError, match=r"history\.words: expected the identity word of every token"):
        make()(replace(HISTORY, words=None), CURRENT)


def test_a_fresh_decoder_attends_most_to_the_token_with_the_same_embedding():
    torch.manual_seed(0)
    decoder = IDDecoder(embed_dim=64, word_dim=64, num_words=20, num_layers=1)
    embeddings = torch.randn(20, 64)
    words = decoder.word_to_embed.weight.t()
    known = torch.cat([embeddings, words[:20]], 1)
    asked = torch.cat([embeddings, words[20:].expand(20, 64)], 1)
    shares = decoder.cross_attns[0](asked[None], known[None], known[None])[1][0, :, :20]
    assert (shares.argmax(1) == torch.arange(20)).float().mean() > 0.9
