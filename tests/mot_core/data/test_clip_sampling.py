import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mot_core.data import ClipDataset, ClipSampler, ClipSampling, FrameDataset, SequenceSampler, SyntheticVideo


@given(
    length=st.integers(1, 6),
    more=st.integers(0, 4),
    max_interval=st.integers(1, 12),
    stride=st.integers(1, 9),
    spare=st.integers(0, 40),
    seed=st.integers(0, 9),
)
def test_clips_are_within_their_video(length, more, max_interval, stride, spare, seed):
    sampling = ClipSampling({0: length, 3: length + more}, max_interval, stride)
    video = length + more + spare
    (windows,) = sampling.num_windows(np.array([video]))
    assert windows == len(range(0, spare + 1, stride))
    for window in range(windows):
        for epoch in (0, 3):
            positions = sampling.positions(video, window, epoch, np.random.default_rng(seed))
            steps = set(np.diff(positions))
            assert len(positions) == sampling.length(epoch) == length + more * (epoch == 3)
            assert 0 <= positions[0] <= positions[-1] < video
            assert len(steps) <= 1
            assert all(1 <= step <= max_interval for step in steps)


def test_all_frames_and_intervals_are_drawn():
    sampling = ClipSampling({0: 2, 9: 5}, max_interval=3)
    seen, intervals = set(), set()
    for seed in range(50):
        for window in range(6):
            first, second = sampling.positions(10, window, 0, np.random.default_rng(seed))
            seen |= {first, second}
            intervals.add(second - first)
    assert seen == set(range(10))
    assert intervals == {1, 2, 3}


def test_number_of_clips_is_constant_over_epochs():
    dataset = ClipDataset(SyntheticVideo(num_videos=3, num_frames=10), ClipSampling({0: 2, 5: 4, 7: 6}))
    assert len(dataset) == 3 * 5
    assert [len(dataset[(epoch, 14)]) for epoch in (0, 4, 5, 6, 7, 100)] == [2, 2, 4, 4, 6, 6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "clip length: expected at least 1 frame, got 0"),
        ({"length": {}}, "expected a schedule that starts with epoch 0"),
        ({"length": {1: 2}}, "expected a schedule that starts with epoch 0, got {1: 2}"),
        ({"length": {0: 2, 5: 0}}, "clip length: expected at least 1 frame, got 0"),
        ({"max_interval": 0}, "max_interval: expected at least 1 frame, got 0"),
        ({"stride": -1}, "stride: expected at least 1 frame, got -1"),
    ],
)
def test_invalid_sampling_is_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClipSampling(**arguments)


def test_sequence_shorter_than_a_clip_is_rejected():
    video = SyntheticVideo(num_videos=4, num_frames=5)
    ClipDataset(video, ClipSampling(5))
    with pytest.raises(
        ValueError,
        match=r"synthetic-train-0-0: expected at least 6 frames for a clip, got 5 \(4 of 4 sequences\); use shorter",
    ):
        ClipDataset(video, ClipSampling({0: 2, 90: 6}))


@given(size=st.integers(1, 40), batch=st.integers(1, 3), processes=st.integers(1, 4), epoch=st.integers(0, 5))
def test_processes_share_the_global_batches(size, batch, processes, epoch):
    def order(replicas, rank):
        sampler = ClipSampler(range(size), seed=3, num_replicas=replicas, rank=rank)
        sampler.set_epoch(epoch)
        return list(sampler)

    alone = order(1, 0)
    assert sorted(index for _, index in alone) == list(range(size))
    assert {first for first, _ in alone} == {epoch}
    shares = [order(processes, rank) for rank in range(processes)]
    for begin in range(0, size - batch * processes + 1, batch * processes):
        step = begin // processes
        together = {key for share in shares for key in share[step : step + batch]}
        assert together == set(alone[begin : begin + batch * processes])


def test_order_changes_with_epoch_and_seed():
    orders = set()
    for seed in (0, 1):
        sampler = ClipSampler(range(30), seed=seed)
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            orders.add(tuple(index for _, index in sampler))
    assert len(orders) == 4
    assert [index for _, index in ClipSampler(range(4), shuffle=False)] == [0, 1, 2, 3]


@given(lengths=st.lists(st.integers(1, 9), max_size=8), processes=st.integers(1, 4))
def test_whole_videos_are_distributed(lengths, processes):
    lengths = np.array(lengths, np.int64)
    video = np.repeat(np.arange(len(lengths)), lengths)
    shares = [
        [index for _, index in SequenceSampler(lengths, num_replicas=processes, rank=rank)] for rank in range(processes)
    ]
    assert sorted(index for share in shares for index in share) == list(range(lengths.sum()))
    assert all(share == sorted(share) for share in shares)
    owners = [set(video[share]) for share in shares]
    assert sum(map(len, owners)) == len(lengths)
    loads = [len(share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths, default=0)


def test_frames_are_complete_and_in_order():
    dataset = FrameDataset(SyntheticVideo(num_videos=2, num_frames=3))
    frames = [(frame.sequence, frame.number) for (frame,) in (dataset[index] for index in range(len(dataset)))]
    assert frames == [(f"synthetic-train-0-{video}", number) for video in range(2) for number in (1, 2, 3)]
    with pytest.raises(IndexError, match="expected a frame below 6, got 6"):
        dataset[6]
