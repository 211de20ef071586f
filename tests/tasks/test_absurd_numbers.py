"""Numbers that no memory or no integer type holds are named before anything is made."""

import pytest

from keras_floss.tasks import (
    adding_problem,
    continuous_xor,
    copying_memory,
    delayed_copy,
    first_symbol,
    hierarchical_xor,
    spatial_xor,
    temporal_xor,
)

DELAYS = delayed_copy, temporal_xor, hierarchical_xor, continuous_xor, spatial_xor


@pytest.mark.parametrize("make", [*DELAYS, copying_memory, adding_problem, first_symbol])
def test_seeds_that_int64_has_not_are_named(make):
    for seed in (int("1" * 30), -(2**63) - 1):
        with pytest.raises(ValueError, match=rf"`seed`.*int64.*{seed}"):
            make(8, seed=seed)
    for seed in (1.5, None, "0"):
        with pytest.raises(ValueError, match="`seed` must be an integer"):
            make(8, seed=seed)
    make(8, seed=-1)
    make(8, seed=2**63 - 1)


@pytest.mark.parametrize("make", [*DELAYS, copying_memory, adding_problem, first_symbol])
def test_batches_that_no_memory_holds_are_named(make):
    with pytest.raises(ValueError, match=r"`batch_size`.*smaller.*batch_size=1" + "0" * 13):
        make(8, batch_size=10**13)


@pytest.mark.parametrize("make", DELAYS)
def test_lengths_that_no_memory_holds_are_named(make):
    with pytest.raises(ValueError, match=r"`length`.*smaller.*length=1" + "0" * 13):
        make(8, length=10**13)


def test_delays_and_levels_that_no_memory_holds_are_named():
    for make in (copying_memory, adding_problem, first_symbol):
        with pytest.raises(ValueError, match=r"smaller.*=1" + "0" * 13):
            make(10**13)
    with pytest.raises(ValueError, match=r"`levels` must be at most 30.*1000000"):
        hierarchical_xor(8, levels=1000000)
