"""Products on gs:// are sampled and compared as local ones are."""

import numpy as np
import pytest
from made_products import DAY, geobox, make_product, patchwork
from test_gcs import emulator as emulator
from test_gcs import gcs as gcs

from pipeline.cli import main
from transforms import store
from transforms.product import ProductTile

BOX = geobox(3.0, 50.0, 120, 90)


@pytest.mark.usefixtures("gcs")
def test_a_product_on_gs_is_sampled_and_compared(tmp_path):
    layers = patchwork(np.random.default_rng(3), *BOX.shape)
    tables, documents = [], []
    for place in ("gs://bucket", str(tmp_path)):
        run = make_product(f"{place}/products", DAY, {ProductTile("N49E003", BOX): layers})
        table = f"{place}/sample.csv"
        design = ["assess", "design", run, f"--out={table}", "--minimum=3", "--size=90"]
        assert main(design) == 0
        tables.append(store.read_bytes(table))
        other = f"{place}/worldcover/N49E003.tif"
        store.write_bytes(other, store.read_bytes(f"{run}/product/N49E003/N49E003_lulc.tif"))
        assert main(["agree", run, "--with", "worldcover", f"{place}/worldcover"]) == 0
        documents.append(store.read_json(f"{run}/reports/agreement.json"))
        assert store.exists(f"{run}/reports/agreement/N49E003_worldcover.tif")
    assert tables[0] == tables[1]
    assert documents[0] == documents[1]
    assert documents[0]["worldcover"]["places"][0]["agreement"] == 1
