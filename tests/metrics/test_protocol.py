from __future__ import annotations

import json
from dataclasses import replace

import pytest

from metrics.protocol import ProtocolRecord, differences, metric_key

RECORD = ProtocolRecord(
    extractor="fmnist_cnn",
    extractor_sha256="ab" * 32,
    resize="28 bilinear, luma",
    antialias=True,
    reference_dataset="fashion_mnist",
    reference_split="reference",
    reference_n=60_000,
    reference_sha256="cd" * 32,
    n_generated=2_000,
    sampler="ddim",
    spacing="trailing",
    nfe=50,
    eta=0.0,
    guidance=None,
    weights="ema",
    precision="bf16-mixed",
    seed=0,
)


def test_every_field_changes_the_protocol_id() -> None:
    changed = {
        name: replace(RECORD, **{name: "other" if isinstance(value, str) else 7})
        for name, value in RECORD.as_dict().items()
    }
    assert len({RECORD.id, *(record.id for record in changed.values())}) == len(changed) + 1


def test_the_id_is_the_same_in_every_process_and_order_of_fields() -> None:
    shuffled = dict(sorted(RECORD.as_dict().items(), reverse=True))
    assert ProtocolRecord.from_dict(json.loads(json.dumps(shuffled))).id == RECORD.id
    assert RECORD.id == "572459a11d"


def test_a_record_survives_json() -> None:
    assert ProtocolRecord.from_dict(json.loads(json.dumps(RECORD.as_dict()))) == RECORD


def test_a_record_with_missing_or_unknown_fields_is_refused() -> None:
    values = RECORD.as_dict()
    with pytest.raises(ValueError, match="unknown fields .'splt'."):
        ProtocolRecord.from_dict(values | {"splt": "x"})
    del values["resize"]
    with pytest.raises(ValueError, match="lacks .'resize'."):
        ProtocolRecord.from_dict(values)


def test_differences_name_the_fields_with_both_values() -> None:
    other = replace(RECORD, nfe=1000, eta=None)
    assert differences(RECORD, other) == {"nfe": (50, 1000), "eta": (0.0, None)}
    assert differences(RECORD, RECORD) == {}


def test_two_samplers_measured_alike_share_the_measurement_but_not_the_protocol() -> None:
    other = replace(RECORD, sampler="one pass", spacing=None, nfe=1, eta=None)
    assert other.measurement_id == RECORD.measurement_id
    assert other.id != RECORD.id
    assert replace(RECORD, n_generated=2048).measurement_id != RECORD.measurement_id


@pytest.mark.parametrize(
    ("n", "key"), [(2000, "2k"), (2048, "2048"), (50_000, "50k"), (500, "500"), (1500, "1500")]
)
def test_the_number_of_images_is_part_of_the_key(n: int, key: str) -> None:
    assert metric_key("gen", "fid", "fmnist_cnn", n) == f"gen/fid/fmnist_cnn@{key}"


def test_a_metric_without_an_extractor_has_a_short_key() -> None:
    assert metric_key("restore/denoise-0.5", "psnr") == "restore/denoise-0.5/psnr"
    with pytest.raises(ValueError, match="belong together"):
        metric_key("gen", "fid", "inception")
