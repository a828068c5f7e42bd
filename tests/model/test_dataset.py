"""CloudLULC-Set's layout: what is read, what is refused and with which words, what is augmented."""

import csv

import numpy as np
import pytest
import rasterio

from model.augment import UNKNOWN_CLOUD, Augmentation, training_sample
from model.dataset import check, decode, read_samples, read_split
from model.patch import read_patch

LAYERS = {
    "sar_vh": "SAR_S1/VH",
    "sar_vv": "SAR_S1/VV",
    "opt_cloudy": "Opt_S2_cloudy",
    "opt_clear": "Opt_S2_clear",
    "label": "Label",
}
UNCHANGED = Augmentation(*[0.0] * len(Augmentation._fields))


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(array), height=array.shape[1], width=array.shape[2],
        dtype=array.dtype, crs="EPSG:32633",
        transform=rasterio.transform.from_origin(500000, 5000000, 10, 10),
    ) as file:  # fmt: skip
        file.write(array)


@pytest.fixture
def make(tmp_path):
    """Writes a small data set; `change` maps a column to a function of the second patch's array."""

    def make(size=(32, 32), count=2, **change):
        rng = np.random.default_rng(0)
        rows = []
        for i in range(count):
            clear = rng.integers(300, 4000, (12, *size)).astype(np.uint16)
            arrays = {
                "sar_vh": rng.normal(-18, 2, (1, *size)).astype(np.float32),
                "sar_vv": rng.normal(-11, 2, (1, *size)).astype(np.float32),
                "opt_cloudy": (clear + 1000).astype(np.uint16),
                "opt_clear": clear,
                "label": rng.integers(0, 6, (1, *size)).astype(np.uint8),
            }
            row = {"split_id": 1}
            for column, folder in LAYERS.items():
                array = arrays[column]
                if i == 1 and column in change:
                    array = change[column](array)
                row[column] = f"p{i}.tif"
                write(tmp_path / "set" / folder / f"p{i}.tif", array)
            rows.append(row)
        split = tmp_path / "set" / "split" / "train.csv"
        split.parent.mkdir(parents=True, exist_ok=True)
        with open(split, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / "set"

    return make


def test_patches_are_decoded_with_units_order_and_nodata(make, tmp_path):
    def with_gap(a):
        a[0, 0, 0] = np.nan
        return a

    root = make(sar_vv=with_gap)
    patches = decode(root, "train", tmp_path / "out")
    assert patches.clear.shape == (2, 12, 32, 32) and patches.clear.dtype == np.uint16
    assert patches.sar.dtype == np.int16 and patches.sar[1, 0, 0, 0] == -32768
    with rasterio.open(root / "SAR_S1/VV/p0.tif") as vv:
        np.testing.assert_array_equal(patches.sar[0, 0], np.rint(100 * vv.read(1)))
    with rasterio.open(root / "Opt_S2_cloudy/p1.tif") as file:
        np.testing.assert_array_equal(patches.cloudy[1], file.read())


def test_int16_backscatter_is_taken_as_hundredths_of_a_decibel(make, tmp_path):
    def coded(a):
        return np.full(a.shape, -1234, np.int16)

    patches = decode(make(sar_vh=coded), "train", tmp_path / "out")
    assert (patches.sar[1, 1] == -1234).all()


def test_odd_sizes_are_padded_with_nodata(make, tmp_path):
    patches = decode(make(size=(40, 33)), "train", tmp_path / "out")
    assert patches.label.shape == (2, 64, 64)
    assert (patches.label[:, 40:] == 255).all() and (patches.label[:, :, 33:] == 255).all()
    assert (patches.sar[..., 40:, :] == -32768).all() and (patches.clear[..., 33:] == 0).all()


def test_labels_from_1(make, tmp_path):
    def up(a):
        a += 1
        a[0, 0, 0] = 0
        return a

    root = make(count=2, label=up)
    with rasterio.open(root / "Label/p0.tif") as file:
        first = file.read()
    write(root / "Label/p0.tif", first + 1)
    patches = decode(root, "train", tmp_path / "out", labels_from_1=True)
    np.testing.assert_array_equal(patches.label[0], first[0])
    assert patches.label[1, 0, 0] == 255


def test_decoded_arrays_are_reused_until_a_file_changes(make, tmp_path):
    root = make()
    decode(root, "train", tmp_path / "out")
    arrays = tmp_path / "out" / "train" / "label.npy"
    before = arrays.stat().st_mtime_ns
    decode(root, "train", tmp_path / "out")
    assert arrays.stat().st_mtime_ns == before
    write(root / "Label/p1.tif", np.full((1, 32, 32), 3, np.uint8))
    assert (decode(root, "train", tmp_path / "out").label[1] == 3).all()


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("opt_clear", lambda a: a[:11], r"Opt_S2_clear.p1\.tif has 11 bands, expected 12"),
        ("sar_vv", lambda a: a[:, :16], r"layers differ in shape .*sar_vv.: \(16, 32\)"),
        ("label", lambda a: a + 4, r"Label.p1\.tif holds labels \[6, 7, 8, 9\], expected 0-5"),
        ("opt_cloudy", lambda a: a.astype(np.uint8), r"Opt_S2_cloudy.p1\.tif is uint8, expected"),
        ("opt_cloudy", lambda a: a * 100.0, r"Opt_S2_cloudy.p1\.tif holds .* expected reflectance"),
        ("label", lambda a: a + 0.5, r"Label.p1\.tif holds labels \[0\.5, 1\.5"),
        ("sar_vh", lambda a: a + 5000, r"VH.p1\.tif holds .* expected dB"),
        ("sar_vh", lambda a: a.astype(np.uint8), r"VH.p1\.tif is uint8, expected dB"),
    ],
)
def test_a_wrong_file_is_named_with_its_row(make, tmp_path, column, change, message):
    with pytest.raises(ValueError, match=f"split train row 2: .*{message}"):
        decode(make(**{column: change}), "train", tmp_path / "out")


def test_missing_and_truncated_files_are_named(make, tmp_path):
    root = make()
    path = root / "Opt_S2_cloudy" / "p1.tif"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"row 2: .*Opt_S2_cloudy.p1\.tif cannot be read"):
        decode(root, "train", tmp_path / "out")
    path.unlink()
    with pytest.raises(ValueError, match=r"row 2: opt_cloudy file .*p1\.tif is missing"):
        decode(root, "train", tmp_path / "out")


def test_bad_splits_are_refused(make, tmp_path):
    root = make()
    with pytest.raises(ValueError, match=r"val\.csv is missing"):
        read_split(root, "val")
    with pytest.raises(ValueError, match="got 'dev'"):
        read_split(root, "dev")
    split = root / "split" / "train.csv"
    text = split.read_text()
    split.write_text(text.replace("label", "mask"))
    with pytest.raises(ValueError, match=r"columns \['label'\] are missing"):
        read_split(root, "train")
    split.write_text(text.replace("\n1,", "\n2,"))
    with pytest.raises(ValueError, match="row 1: got split_id '2', expected 1"):
        read_split(root, "train")
    split.write_text(text.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="no rows"):
        read_split(root, "train")


def test_all_that_is_wrong_is_named_at_once(make):
    root = make(count=3, label=lambda a: a + 6)
    (root / "SAR_S1/VV/p2.tif").unlink()
    with pytest.raises(ValueError) as error:
        check(read_split(root, "train"))
    assert "row 2: " in str(error.value) and "row 3: sar_vv file" in str(error.value)


def test_lists_without_header_extension_or_clear_image_are_read(make):
    root = make(count=3)
    split = root / "split" / "train.csv"
    lines = [f"1,p{i},SAR_S1/VV/p{i}.tif,p{i},{'' if i else 'p0'},p{i}" for i in range(3)]
    split.write_text("\ufeff" + "\r\n".join(lines))
    rows = read_split(root, "train")
    assert [row.name for row in rows] == ["p0", "p1", "p2"]
    assert "opt_clear" in rows[0].files and "opt_clear" not in rows[1].files
    patch = read_patch(rows[1])
    assert patch.cloudy.any() and not patch.clear.any()
    split.write_text("p0,p0\n")
    with pytest.raises(ValueError, match="2 columns without a header, expected split_id, sar_vh"):
        read_split(root, "train")


def test_names_are_unique_where_rows_share_a_label(make):
    root = make(count=3)
    split = root / "split" / "train.csv"
    split.write_text("1,p0,p0,p0,p0,p0\n1,p0,p0,p1,p0,p0\n1,p0,p0,p1,p0,p0\n1,p2,p2,p2,p2,p2\n")
    rows = read_split(root, "train")
    assert [row.name for row in rows] == ["p0", "p1 (2)", "p1 (3)", "p2"]
    assert {row.place for row in rows} == {"p0", "p2"}


def test_masks_of_the_cloud_folder_come_with_the_sample(make):
    root = make(size=(40, 33))
    mask = np.zeros((1, 40, 33), np.uint8)
    mask[0, :10] = 1
    for i in range(2):
        write(root / "cloud" / f"p{i}.tif", mask)
    first = next(read_samples(root, "train"))
    assert first.size == (40, 33) and first.cloud.shape == (64, 64)
    np.testing.assert_array_equal(first.cloud[:40, :33], mask[0] == 1)
    assert not first.cloud[40:].any()
    write(root / "cloud" / "p1.tif", mask * 255)
    with pytest.raises(ValueError, match=r"row 2: .*p1\.tif holds \[0, 255\], expected 0 and 1"):
        check(read_split(root, "train"))
    (root / "cloud" / "p1.tif").unlink()
    with pytest.raises(ValueError, match=r"row 2: cloud file .* is missing"):
        check(read_split(root, "train"))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(np.float32),
        lambda a: (a / 1e4).astype(np.float32),
        lambda a: a.astype(np.int32),
    ],
)
def test_reflectance_is_taken_as_it_is_stored(make, change):
    plain = read_patch(read_split(make(), "train")[1]).cloudy
    np.testing.assert_array_equal(
        read_patch(read_split(make(opt_cloudy=change), "train")[1]).cloudy, plain
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda a: np.rint(100 * a).astype(np.int16),
        lambda a: np.rint(100 * a).astype(np.float32),
        lambda a: (10 ** (a / 10)).astype(np.float32),
    ],
)
def test_backscatter_is_taken_as_it_is_stored(make, change):
    plain = read_patch(read_split(make(), "train")[1]).sar
    other = read_patch(read_split(make(sar_vh=change), "train")[1]).sar
    assert np.abs(other.astype(int) - plain).max() <= 1


def test_nodata_of_floats_is_nodata(make):
    def with_gaps(a):
        a = a / np.float32(1e4)
        a[:, 0], a[:, 1] = np.nan, 0
        return a

    cloudy = read_patch(read_split(make(opt_cloudy=with_gaps), "train")[1]).cloudy
    assert not cloudy[:, :2].any() and cloudy[:, 2:].all()


@pytest.fixture
def patches(make, tmp_path):
    return decode(make(size=(64, 64)), "train", tmp_path / "out")


def test_without_augmentation_a_sample_is_a_turned_patch(patches):
    sample = training_sample(patches, 0, 64, np.random.default_rng(0), UNCHANGED)
    views = [
        np.rot90(a, k, (-2, -1))[..., ::s]
        for k in range(4)
        for s in (1, -1)
        for a in (np.concatenate([patches.cloudy[0], patches.sar[0], patches.label[0][None]]),)
    ]
    got = np.concatenate([sample.optical, sample.sar, sample.label[None]])
    assert sum((got == v).all() for v in views) == 1
    assert (sample.clouded == UNKNOWN_CLOUD).all()


def test_a_patch_without_a_clear_image_is_taken_as_it_comes(patches):
    how = UNCHANGED._replace(simulate=1.0)
    bare = patches._replace(clear=np.zeros_like(patches.clear))
    sample = training_sample(bare, 0, 64, np.random.default_rng(0), how)
    assert np.sort(sample.optical.ravel()).tolist() == np.sort(patches.cloudy[0].ravel()).tolist()
    assert (sample.clouded == UNKNOWN_CLOUD).all()


def test_simulated_clouds_come_with_their_mask(patches):
    how = UNCHANGED._replace(simulate=1.0)
    samples = [training_sample(patches, 0, 64, np.random.default_rng(s), how) for s in range(8)]
    share = [s.clouded.mean() for s in samples]
    assert all(0 <= x <= 1 for x in share) and max(share) - min(share) > 0.3


def test_modalities_drop_out_at_their_rate_and_never_together(patches):
    how = UNCHANGED._replace(no_optical=0.3, no_sar=0.3, no_60m=0.3, few_bands=0.2)
    samples = [training_sample(patches, 0, 32, np.random.default_rng(s), how) for s in range(300)]
    no_optical = np.array([not s.optical.any() for s in samples])
    no_sar = np.array([(s.sar == -32768).all() for s in samples])
    no_60m = np.array([not s.optical[[0, 9]].any() for s in samples]) & ~no_optical
    assert not (no_optical & no_sar).any()
    assert 0.2 < no_optical.mean() < 0.4 and 0.2 < no_sar.mean() < 0.4
    assert 0.12 < no_60m.mean() < 0.35


def test_a_patch_without_sar_keeps_its_optical_image(patches):
    alone = patches._replace(sar=np.full_like(patches.sar, -32768))
    how = UNCHANGED._replace(no_optical=0.9)
    for seed in range(8):
        sample = training_sample(alone, 0, 64, np.random.default_rng(seed), how)
        assert sample.optical.any()


def test_what_thin_cloud_hides_is_believed_less_than_its_opacity_says(patches):
    how = UNCHANGED._replace(simulate=1.0)
    some = [training_sample(patches, 0, 64, np.random.default_rng(s), how) for s in range(12)]
    clouded = np.stack([s.clouded for s in some])
    assert clouded.min() == 0 and clouded.max() <= 1
    assert 0.1 < ((clouded > 0.5) & (clouded < 0.95)).mean()


def test_changes_of_gain_and_speckle_keep_nodata(make, tmp_path):
    def with_gap(a):
        a[:, :8] = 0
        return a

    patches = decode(make(opt_cloudy=with_gap), "train", tmp_path / "out")
    how = UNCHANGED._replace(gain=0.1, offset=500.0, decibel=1.0, speckle=1.0)
    sample = training_sample(patches, 1, 32, np.random.default_rng(0), how)
    assert (sample.optical == 0).sum() == 12 * 8 * 32
    assert not (sample.sar == -32768).any()
    assert np.abs(sample.sar / 100.0).max() < 60


def test_outside_of_a_footprint_there_is_no_data_and_no_label_where_both_end(patches):
    how = UNCHANGED._replace(footprint=1.0)
    ended = set()
    for seed in range(40):
        sample = training_sample(patches, 0, 64, np.random.default_rng(seed), how)
        no_optical = ~sample.optical.any(axis=0)
        no_sar = (sample.sar == -32768).all(axis=0)
        np.testing.assert_array_equal(sample.label == 255, no_optical & no_sar)
        assert (~(no_optical | no_sar)).sum() >= 16 * 16
        ended.add((bool(no_optical.any()), bool(no_sar.any())))
    assert {(True, True), (True, False), (False, True)} <= ended
