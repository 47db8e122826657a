"""What was filmed or photographed in PQ, HLG or wider primaries, as sRGB. `H W`: pixels.

    pixels = to_srgb(encoded, curve=18, primaries=9)        # uint16 [H,W,3] of a phone's HLG -> uint8 [H,W,3]

Curves and primaries are numbers of ITU-T H.273, as streams and files carry them ("CICP").

    encoded -> light in cd/m2     PQ: SMPTE ST 2084; HLG: ITU-R BT.2100 with the system gamma 1.2 of a display of 1000
    -> at most 203 cd/m2          203 is white in SDR (ITU-R BT.2408); what is brighter is rolled off by BT.2390's curve
                                  over the largest of R, G, B, so that hues stay. Up to 92 cd/m2 nothing changes
    -> BT.709 -> sRGB             colours outside are clipped

A PQ source is taken to reach 1000 cd/m2, as phones grade theirs; what is brighter is white.
"""

import struct

import numpy as np

PQ, HLG = 16, 18
CURVES = {PQ: "PQ", HLG: "HLG"}
WIDE = {9: "BT.2020", 12: "Display P3"}
WHITE, PEAK = np.float32(203), np.float32(1000)  # cd/m2
LUMA = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)  # of BT.2020
TO_BT709 = {
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32),
    12: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], dtype=np.float32),
}
"""Linear light of BT.2020 and of Display P3 in BT.709, all of them with the white of D65."""


def is_srgb(curve: int, primaries: int) -> bool:
    """Whether pixels are taken for sRGB as they are; BT.709's own curve is, as everywhere here."""
    return curve not in CURVES and primaries not in TO_BT709


def said_of(head: bytes) -> tuple[int, int] | None:
    """(curve, primaries) that a picture's first bytes tell: the chunk cICP of a PNG, the box `colr` of an AVIF or HEIC.
    None also where there is a gain map, whose box may be the one that is found: its base picture is SDR."""
    if head.startswith(b"\x89PNG"):
        at, start = head.find(b"cICP"), head.find(b"IDAT")
        return (head[at + 5], head[at + 4]) if 0 <= at < (start if start >= 0 else len(head) - 8) else None
    at = head.find(b"colrnclx")
    if head[4:8] != b"ftyp" or not 0 <= at < len(head) - 16 or b"tmap" in head:
        return None
    primaries, curve = struct.unpack(">HH", head[at + 8 : at + 12])
    return curve, primaries


def name_of(curve: int, primaries: int) -> str:
    """For people: HLG, or Display P3."""
    return CURVES.get(curve) or WIDE.get(primaries, "sRGB")


def to_srgb(encoded: np.ndarray, *, curve: int, primaries: int) -> np.ndarray:
    """uint8 [H,W,3] in sRGB of R'G'B' in full range, uint8 or uint16 [H,W,3]."""
    light = _light(encoded, curve)
    if curve in CURVES:
        brightest = np.maximum(light.max(axis=-1, keepdims=True), _NITS[1])
        light *= _ROLLED_OFF[_step(brightest / _NITS[-1])] / brightest
    if primaries in TO_BT709:
        light = light @ TO_BT709[primaries].T
    return _SRGB[_step(light)]


def _light(encoded: np.ndarray, curve: int) -> np.ndarray:
    """float32 [H,W,3]: cd/m2 of PQ and HLG, else linear with white at 1."""
    level = np.linspace(0, 1, np.iinfo(encoded.dtype).max + 1)
    if curve == PQ:
        return _pq_light(level).astype(np.float32)[encoded]
    if curve == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12).astype(np.float32)[encoded]
        return scene * PEAK * (scene @ LUMA)[..., None] ** np.float32(0.2)
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)[encoded]


def _step(light: np.ndarray) -> np.ndarray:
    """Where light in [0, 1] stands in the tables below, whose steps grow with its root as those of the eye do."""
    return (np.sqrt(light.clip(0, 1)) * (_STEPS - 1) + 0.5).astype(np.uint16)


def _pq_light(level: np.ndarray) -> np.ndarray:
    """cd/m2 of PQ's levels in [0, 1]."""
    root = level ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_level(nits: np.ndarray | np.floating) -> np.ndarray:
    """The other way."""
    power = (np.asarray(nits) / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _rolled_off(nits: np.ndarray) -> np.ndarray:
    """cd/m2 of a source that reaches PEAK on a display that reaches WHITE: the EETF of BT.2390, section 5.4.1."""
    level, most = _pq_level(nits.clip(0, PEAK)) / _pq_level(PEAK), _pq_level(WHITE) / _pq_level(PEAK)
    knee = 1.5 * most - 0.5
    t = (level - knee).clip(0) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return _pq_light(np.where(level < knee, level, bent) * _pq_level(PEAK))


_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_STEPS = 32768
_linear = np.linspace(0, 1, _STEPS) ** 2
_NITS = (10_000 * _linear).astype(np.float32)
_ROLLED_OFF = (_rolled_off(_NITS) / WHITE).astype(np.float32)
_SRGB = np.where(_linear <= 0.0031308, 12.92 * _linear, 1.055 * _linear ** (1 / 2.4) - 0.055)
_SRGB = (_SRGB * 255).round().astype(np.uint8)
