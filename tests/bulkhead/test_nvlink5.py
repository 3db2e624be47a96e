"""Events of NVLink 5, by lines from the field and by rows of NVIDIA's table."""

import pytest

from bulkhead.nvlink5 import AS_154_SAYS, LEAVE, PEER, RESET, Advice, NvlinkEvent, advice, read


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (
            "NETIR_LINK_EVT  Fatal   XC0 i0 Link 09 (0x025525c6 0x00000000 0x00000001)",
            NvlinkEvent("NETIR_LINK_EVT", True, False, 9, 0x025525C6, 0),
        ),
        (
            "RLW_RXPIPE Nonfatal XC1 i2 Link 17 (0xdeadbeef)",
            NvlinkEvent("RLW_RXPIPE", False, True, 17, 0xDEADBEEF, None),
        ),
        (  # a driver before R575
            "NETIR_LINK_EVT Fatal XC 1 i 2 Link 01 [0x0000000a]",
            NvlinkEvent("NETIR_LINK_EVT", True, True, 1, 0xA, None),
        ),
        ("MSE Degraded Fatal XC0 i0 Link -1", NvlinkEvent("MSE DEGRADED", True, False, -1, None, None)),
        ("Non-fatal XC0 i0 Link 3", NvlinkEvent("", False, False, 3, None, None)),
        ("words of another driver", None),
        ("", None),
    ],
)
def test_a_line_is_read_field_by_field(text: str, event: NvlinkEvent | None) -> None:
    assert read(text) == event


def _event(unit: str, info: int | None = None, status: int | None = None) -> NvlinkEvent:
    return NvlinkEvent(unit, False, False, 0, info, status)


@pytest.mark.parametrize(
    ("number", "unit", "status", "immediate"),
    [
        (144, "SAW_MVB", 0x2, RESET),
        (144, "SAW_MVB", 0x8, LEAVE),
        (145, "RLW_REMAP", 0x20, AS_154_SAYS),
        (145, "RLW_REMAP", 0x100, LEAVE),
        (145, "RLW_REMAP", 0x120, AS_154_SAYS),
        (145, "RLW_REMAP", 0x1E0, RESET),
        (146, "TLW_RX", 0x4, RESET),
        (146, "TLW_RX_PIPE1", 0x4, RESET),
        (146, "TLW_TX_PIPE0", 0x80000002, LEAVE),
        (147, "TREX", 0x80000000, LEAVE),
        (148, "NVLPW", 0x80000000, LEAVE),
        (149, "NETIR_MFDE_EVENT", 0x7, RESET),
        (149, "NETIR_MFDE_EVENT", 0x3, LEAVE),
        (149, "NETIR_BER_EVENT", 0x0, LEAVE),
        (149, "NETIR_INT", None, RESET),
        (150, "MSE DEGRADED", 0xFFFFFFFF, RESET),
        (150, "MSE_WATCHDOG", None, RESET),
    ],
)
def test_the_status_decides(number: int, unit: str, status: int | None, immediate: str) -> None:
    found = advice(number, _event(unit, status=status))
    assert found is not None and found.immediate == immediate
    assert found.fatal is (immediate == RESET)


@pytest.mark.parametrize(
    ("number", "unit", "status"),
    [
        (144, "RLW_REMAP", 0x1),
        (145, "NOBODY", 0x1),
        (145, "RLW_REMAP", 0x400),
        (145, "RLW_REMAP", 0x0),
        (145, "RLW_REMAP", None),
        (149, "NETIR_MFDE_EVENT", 0x2),
        (149, "NETIR_MFDE_EVENT", None),
        (149, "NETIR_LINK_EVT", 0x1),  # by its reason alone
    ],
)
def test_what_the_table_has_not_is_nothing(number: int, unit: str, status: int | None) -> None:
    assert advice(number, _event(unit, status=status)) is None


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (0x000625C6, Advice(RESET, "SYMPATHETIC_REPORT_SOLO", True)),
        (0x016415C6, Advice(RESET, "INVESTIGATE_SW_USER", True)),
        (0x015001C6, Advice(RESET, PEER, True)),
        (0x025525C6, Advice(RESET, PEER, True)),
        (0x026001C6, Advice(LEAVE, "INVESTIGATE_SW_USER", True)),
        (0x028001C6, Advice(LEAVE, "INVESTIGATE_HOST", True)),
        (0xFEA001C6, Advice(RESET, "INVESTIGATE_LINK_SI_AND_CABLES", True)),  # the six bits above are somebody else's
        (0x03F001C6, None),
    ],
)
def test_a_link_that_is_down_says_why_in_six_bits(info: int, message: Advice | None) -> None:
    for unit in ("NETIR_LINK_EVT", "NETIR_LINK_DOWN"):  # before R575, and since
        assert advice(149, _event(unit, info, 0)) == message


@pytest.mark.parametrize(
    ("info", "promoted"),
    [
        (0x000000C2, False),  # before R575: the unit in bits 5 to 9
        (0x0409A4C2, True),
        (0x00000006, False),  # since: in bits 0 to 6
        (0x00000086, True),
        (0x00000486, True),
        (0x00000406, False),
        (None, False),
    ],
)
def test_a_fault_that_is_promoted_asks_for_a_reset_in_either_form(info: int | None, promoted: bool) -> None:
    message = advice(145, _event("RLW_RXPIPE", info, 0x4))
    assert message == Advice(RESET if promoted else LEAVE, "CONTACT_SUPPORT", promoted)
    assert advice(145, _event("RLW_RXPIPE", info, 0x8)) == Advice(LEAVE, "CONTACT_SUPPORT", False)
