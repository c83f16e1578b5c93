"""Settings against those that a journal was begun with: never silently another, always by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dita.clock import ManualClock
from dita.errors import ExitCode, SettingsError
from dita.journal import Epoch
from dita.runtime.node import Node
from dita.runtime.state.journal_settings import (
    begun_with,
    check_environment,
    check_journal_settings,
)
from dita.runtime.world import World
from dita.settings import Settings, load

OTHER = {
    "kernel.slot_limit": "5",
    "kernel.hedge": "true",
    "kernel.leverage_cap": "7",
    "kernel.balance_max_age_s": "61",
    "account.figure_tolerance_usdt": "0.02",
    "account.warn_usdt": "0.5",
    "account.error_usdt": "30",
}


def settings_with(**changed: str) -> Settings:
    variables = {f"PINK__{key.upper()}": value for key, value in changed.items()}
    return load(None, variables, {})


def epoch_of(settings: Settings) -> Epoch:
    return Epoch(
        created_ms=1,
        kernel=settings.kernel_config(epoch=1),
        account=settings.account_config(),
    )


def test_every_figure_of_kernel_and_account_that_a_setting_makes_is_held() -> None:
    """Change each setting of the two: whatever changes the configurations has to be in the list."""
    plain = epoch_of(settings_with())
    changed = {
        key
        for key, value in OTHER.items()
        if epoch_of(settings_with(**{key.replace(".", "__"): value})) != plain
    }
    assert changed == set(begun_with(plain)) == set(OTHER)
    sections = [s for s in settings_with().shown() if s.section in ("kernel", "account")]
    # The namespace is held by the journal itself.
    assert {f"{s.section}.{s.key}" for s in sections} == {*OTHER, "kernel.namespace"}


@pytest.mark.parametrize(("key", "value"), OTHER.items())
def test_another_value_is_refused_with_both_and_where_the_new_one_stands(
    key: str, value: str
) -> None:
    begun = epoch_of(settings_with())
    new = settings_with(**{key.replace(".", "__"): value})
    with pytest.raises(SettingsError) as refused:
        check_journal_settings(begun, new, "/state")
    error = refused.value
    assert error.exit_code is ExitCode.SETTINGS
    assert error.expected == f"{key} = {str(begun_with(begun)[key]).lower()}"
    assert error.found.startswith(f"{key} = {value}")
    assert "PINK__" in error.found
    assert "flatten, stop" in error.action
    assert "/state" in error.action


def test_equal_settings_pass_and_two_differences_are_both_told() -> None:
    begun = epoch_of(settings_with())
    check_journal_settings(begun, settings_with(), "/state")
    new = settings_with(kernel__slot_limit="5", account__warn_usdt="0.5")
    with pytest.raises(SettingsError, match=r"slot_limit = 4, account.warn_usdt = 0.01; found"):
        check_journal_settings(begun, new, "/state")


def test_a_refused_start_lets_go_of_everything_and_is_no_crash(tmp_path: Path) -> None:
    async def play() -> None:
        clock = ManualClock(1_000_000)
        Node(settings_with(), tmp_path, World.of_machine(clock)).close()
        before = (tmp_path / "starts.json").read_text()
        with pytest.raises(SettingsError, match="begun with"):
            Node(settings_with(kernel__leverage_cap="2"), tmp_path, World.of_machine(clock))
        assert (tmp_path / "starts.json").read_text() == before
        # The lock and the journal are free.
        Node(settings_with(), tmp_path, World.of_machine(clock)).close()

    asyncio.run(play())


def test_a_directory_of_test_money_is_refused_for_any_other(tmp_path: Path) -> None:
    check_environment(tmp_path, settings_with())
    check_environment(tmp_path, settings_with())
    config = Path(__file__).parent.parent.parent / "configs" / "pink-vst.toml"
    vst = load(config, {"PINK__VENUE__ENVIRONMENT": "vst"}, {})
    with pytest.raises(SettingsError, match=r"venue\.environment = mock, which") as refused:
        check_environment(tmp_path, vst)
    assert "(PINK__VENUE__ENVIRONMENT)" in refused.value.found
    assert (tmp_path / "environment").read_text() == "mock\n"
