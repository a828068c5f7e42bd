"""What a network is: the choices that a checkpoint keeps beside its weights, and the presets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

STRIDES = (4, 8, 16, 32)
SENSORS = ("s1+s2", "s1", "s2", "s1+rgbn")
ANCHORS = ("encoder", "prototypes", "none")
AUXILIARY = ("optical", "sar", "fused")


@dataclass(frozen=True)
class Config:
    """Everything that decides the shape of the network and how it reads its input."""

    classes: int = 6
    stem: int = 24  # channels at stride 2
    dims: tuple[int, ...] = (32, 64, 128, 192)  # channels at strides 4, 8, 16, 32
    optical_depths: tuple[int, ...] = (1, 1, 3, 1)  # blocks per stage
    sar_depths: tuple[int, ...] = (1, 1, 2, 1)
    tokens: int = 128  # D
    latent: int = 64  # dz
    usmt_depth: int = 2
    heads: int = 8
    class_tokens: int = 4  # learned semantic tokens per class
    decoder: tuple[int, int] = (128, 64)  # channels at strides 16 to 4, at stride 2
    order: int = 3  # of SHOI and CHOI
    drop_path: float = 0.1  # of the deepest block; grows linearly from 0
    optical_transform: str = "log"  # "log": log(1 + 100 reflectance); "linear": reflectance
    sensors: str = "s1+s2"  # what the network is shown; the rest is treated as missing
    prior: bool = False  # a cloud probability is given beside the images
    orm: bool = True
    orm_channel: bool = True
    orm_missing: bool = True
    hiaa: bool = True
    shoi: bool = True
    choi: bool = True
    usmt: bool = True
    anchor: str = "encoder"  # how the latent was guided in training: encoder, prototypes, none

    def __post_init__(self):
        checks = {
            "dims": len(self.dims) == 4 and all(d % 8 == 0 for d in self.dims),
            "stem": self.stem % 8 == 0,
            "optical_depths": len(self.optical_depths) == 4,
            "sar_depths": len(self.sar_depths) == 4,
            "tokens": self.tokens % self.heads == 0,
            "order": self.order in (1, 2, 3, 4),
            "optical_transform": self.optical_transform in ("log", "linear"),
            "sensors": self.sensors in SENSORS,
            "anchor": self.anchor in ANCHORS,
        }
        wrong = {k: getattr(self, k) for k, good in checks.items() if not good}
        if wrong:
            raise ValueError(
                f"network config: got {wrong}; expected 4 dims and a stem divisible by 8, 4 depths "
                f"per sensor, tokens divisible by heads, order 1-4, optical_transform log or "
                f"linear, sensors in {SENSORS}, anchor in {ANCHORS}"
            )

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict) -> Config:
        """Config of its JSON form.

        Raises:
          ValueError: a key is unknown or missing, or a value is of another kind.
        """
        known = {f.name for f in fields(cls)}
        if set(d) != known:
            raise ValueError(
                f"network config: unknown keys {sorted(set(d) - known)}, "
                f"missing keys {sorted(known - set(d))}"
            )
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}
        wrong = {k: v for k, v in plain.items() if not _like(v, getattr(_TINY, k))}
        if wrong:
            raise ValueError(f"network config: got {wrong}, expected values as in {_TINY}")
        return cls(**plain)


_TINY = Config()


def _like(value: object, default: object) -> bool:
    """Whether a value is of the default's kind; counts are positive."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(type(v) is int and v > 0 for v in value)
    if type(default) is int:
        return type(value) is int and value > 0
    if type(default) is float:
        return type(value) in (int, float) and 0 <= value < 1
    return type(value) is type(default)


PRESETS: dict[str, Config] = {
    "tiny": _TINY,
    "base": replace(
        _TINY,
        stem=32,
        dims=(64, 128, 256, 384),
        optical_depths=(2, 2, 6, 2),
        sar_depths=(1, 2, 3, 2),
        tokens=256,
        latent=128,
        usmt_depth=4,
    ),
    "large": replace(
        _TINY,
        stem=48,
        dims=(96, 192, 384, 512),
        optical_depths=(3, 3, 9, 3),
        sar_depths=(2, 2, 4, 2),
        tokens=384,
        latent=192,
        usmt_depth=6,
    ),
}
