"""Both clocks keep the promises of the protocol; the manual one moves only when told to."""

from __future__ import annotations

import time

import pytest

from dita.clock import BootClock, Clock, KernelClock, ManualClock, SystemClock
from dita.errors import UnitError


def read(clock: Clock) -> tuple[int, int]:
    """Take both readings; that the two classes pass here is checked by mypy as well."""
    return clock.now_ms(), clock.monotonic_ns()


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()])
def test_readings_are_exact_ints(clock: Clock) -> None:
    assert [type(reading) for reading in read(clock)] == [int, int]


class TestSystemClock:
    def test_wall_time_is_milliseconds_of_this_century(self) -> None:
        assert 1_700_000_000_000 < SystemClock().now_ms() < 4_100_000_000_000

    def test_monotonic_never_goes_back(self) -> None:
        clock = SystemClock()
        readings = [clock.monotonic_ns() for _ in range(1000)]
        assert readings == sorted(readings)

    def test_time_since_the_boot_is_that_of_the_machine(self) -> None:
        clock: BootClock = SystemClock()
        readings = [clock.boottime_ns() for _ in range(1000)]
        assert readings == sorted(readings)
        with open("/proc/uptime") as file:
            uptime_s = float(file.read().split()[0])
        assert abs(clock.boottime_ns() / 1e9 - uptime_s) < 5
        assert abs(SystemClock().monotonic_ns() - clock.boottime_ns()) < 5 * 10**9
        assert len(clock.boot_id()) == 36 and clock.boot_id() == SystemClock().boot_id()


class TestManualClock:
    def test_stands_still(self) -> None:
        clock = ManualClock(1_700_000_000_123)
        assert read(clock) == read(clock) == (1_700_000_000_123, 0)

    def test_starts_at_zero_by_default(self) -> None:
        assert read(ManualClock()) == (0, 0)

    def test_advances_both_readings(self) -> None:
        clock = ManualClock(1_000)
        clock.advance_ms(250)
        clock.advance_ms(0)
        clock.advance_ms(1)
        assert read(clock) == (1_251, 251_000_000)

    def test_counts_from_a_boot_of_its_own(self) -> None:
        clock: BootClock = ManualClock(1_000, "second")
        assert (clock.boottime_ns(), clock.boot_id()) == (0, "second")
        assert ManualClock().boot_id() == "manual"

    @pytest.mark.parametrize("step_ms", [-1, True, 1.0, "1", None])
    def test_refuses_to_go_back_or_to_guess(self, step_ms: object) -> None:
        clock = ManualClock(1_000)
        with pytest.raises(UnitError) as caught:
            clock.advance_ms(step_ms)  # type: ignore[arg-type]
        assert "step_ms refused: expected an exact int of at least 0" in str(caught.value)
        assert f"found {step_ms!r}" in str(caught.value)
        assert read(clock) == (1_000, 0)

    @pytest.mark.parametrize("now_ms", [-1, True, 1.0])
    def test_refuses_a_bad_start(self, now_ms: object) -> None:
        with pytest.raises(UnitError, match="now_ms refused") as caught:
            ManualClock(now_ms)  # type: ignore[arg-type]
        assert f"found {now_ms!r}" in str(caught.value)


HOUR_MS = 3_600_000


class TestKernelClock:
    def test_goes_on_from_its_start_at_real_rate(self) -> None:
        machine = ManualClock(1_000)
        machine.advance_ms(7)
        clock = KernelClock(machine, 5_000)
        assert clock.now_ms() == 5_000
        machine.advance_ms(6_000)
        assert clock.now_ms() == 11_000

    @pytest.mark.parametrize("step_ms", [3 * HOUR_MS, -HOUR_MS])
    def test_steps_of_the_wall_clock_do_not_reach_it(self, step_ms: int) -> None:
        machine = ManualClock(10 * HOUR_MS)
        clock = KernelClock(machine, machine.now_ms())
        machine.set_wall_ms(machine.now_ms() + step_ms)
        assert clock.now_ms() == 10 * HOUR_MS
        machine.advance_ms(6_000)
        assert clock.now_ms() == 10 * HOUR_MS + 6_000
        machine.set_wall_ms(machine.now_ms() - step_ms)
        assert clock.now_ms() == machine.now_ms()

    def test_says_what_time_another_process_meant(self) -> None:
        machine = ManualClock(1_000)
        clock = KernelClock(machine, 9_000)
        until_ns = machine.boottime_ns() + 5_000 * 1_000_000
        machine.advance_ms(40_000)
        assert (clock.at_ms(until_ns), clock.now_ms()) == (14_000, 49_000)

    def test_the_machine_counts_suspended_time(self) -> None:
        """The one reading that all waits are measured with is the one that goes on in suspend."""
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        reading = SystemClock().monotonic_ns()
        assert before <= reading <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
