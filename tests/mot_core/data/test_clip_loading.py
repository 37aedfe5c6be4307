import pytest

from mot_core.data import Augmentation, ClipDataset, ClipLoader, ClipSampler, ClipSampling, SyntheticVideo, collate

AUGMENTATION = Augmentation(short_sides=(40, 48), flip=0.5, crop=0.5, crop_sides=(30, 50), hue=0.1, contrast=0.3)


def loader(num_workers=0, batch_size=2, replicas=1, rank=0):
    video = SyntheticVideo(num_videos=4, num_frames=7, image_size=(48, 64), with_depth=True)
    dataset = ClipDataset(video, ClipSampling({0: 2, 2: 3}, max_interval=2, stride=2), AUGMENTATION, seed=5)
    sampler = ClipSampler(dataset, seed=5, num_replicas=replicas, rank=rank)
    return ClipLoader(dataset, sampler, batch_size, num_workers)


def epochs(clips, count=3):
    """Return the batches of several epochs."""
    batches = []
    for epoch in range(count):
        clips.sampler.set_epoch(epoch)
        batches += list(clips)
    return batches


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes:UserWarning")
@pytest.mark.parametrize("num_workers", [1, 3])
def test_batches_do_not_depend_on_the_number_of_workers(num_workers, assert_same_batch):
    alone = epochs(loader())
    assert len(alone) == 3 * 6
    assert [batch.num_frames for batch in alone] == [2] * 12 + [3] * 6
    for one, other in zip(alone, epochs(loader(num_workers)), strict=True):
        assert_same_batch(one, other)


def test_every_epoch_has_new_clips():
    first, second = epochs(loader(batch_size=12), 2)
    order = sorted(zip(first.sequences, first.times.tolist(), strict=True))
    other = sorted(zip(second.sequences, second.times.tolist(), strict=True))
    assert order != other
    assert [name for name, _ in order] == [name for name, _ in other]


def test_two_processes_share_the_clips(assert_same_batch):
    alone = epochs(loader(batch_size=4))
    shares = [epochs(loader(batch_size=2, replicas=2, rank=rank)) for rank in (0, 1)]
    for whole, *parts in zip(alone, *shares, strict=True):
        found = sorted(key for part in parts for key in zip(part.sequences, part.times.tolist(), strict=True))
        assert found == sorted(zip(whole.sequences, whole.times.tolist(), strict=True))
    dataset = loader().dataset
    assert_same_batch(collate([dataset[(1, 3)]]), collate([loader(replicas=2, rank=1).dataset[(1, 3)]]))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("given", [0, 1, 5, 6])
def test_interrupted_epoch_resumes_exactly(num_workers, given, assert_same_batch):
    whole = epochs(loader(num_workers))
    interrupted = loader(num_workers)
    interrupted.sampler.set_epoch(1)
    batches = iter(interrupted)
    for _ in range(given):
        next(batches)
    state = interrupted.state_dict() if given else {"epoch": 1, "batches": 0}
    assert state == {"epoch": 1, "batches": given}

    resumed = loader(num_workers)
    resumed.load_state_dict(state)
    assert len(resumed) == 6
    rest = list(resumed) if given < 6 else []
    assert resumed.state_dict() == {"epoch": 1, "batches": 6} if given < 6 else {"epoch": 2, "batches": 0}
    resumed.sampler.set_epoch(2)
    rest += list(resumed)
    for one, other in zip(whole[6 + given :], rest, strict=True):
        assert_same_batch(one, other)


def test_a_new_epoch_clears_the_resume_position():
    resumed = loader()
    resumed.load_state_dict({"epoch": 0, "batches": 4})
    resumed.sampler.set_epoch(1)
    assert len(list(resumed)) == 6
