"""A checkpoint's files are read as they were written, or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.errors import UserError
from bertsmith.hub.bundle import Bundle, checksum
from tests.hub.bundles import crc32c, field, write_bundle

DRAW = np.random.default_rng(0)
VARIABLES = {
    f"bert/encoder/layer_{number}/kernel": DRAW.normal(size=(number, 3)).astype("f4") for number in range(1, 40)
}
VARIABLES |= {"half": np.array([1.5, -2], "f2"), "double": np.array(1 / 3), "global_step": np.array(3, np.int64)}


@pytest.mark.parametrize("block_size", [64, 4096])
def test_every_variable_is_what_was_written(tmp_path, block_size):
    bundle = Bundle(write_bundle(tmp_path / "model.ckpt-3", VARIABLES, block_size))
    assert bundle.entries.keys() == VARIABLES.keys()
    for name, expected in VARIABLES.items():
        assert bundle.entries[name].shape == expected.shape
        if name != "global_step":
            assert np.array_equal(bundle.read(name).numpy(), expected)


@pytest.mark.parametrize("size", [0, 1, 9, 131_071, 131_072, 300_001])
def test_the_checksum_of_pieces_is_that_of_the_whole(size):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    assert checksum(data) == crc32c(data.tobytes())


def test_the_checksum_is_the_published_one():
    """RFC 3720, B.4; "123456789" is every catalogue's."""
    assert checksum(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283
    assert checksum(np.zeros(32, np.uint8)) == 0x8A9136AA


@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_byte_of_the_index_is_found(tmp_path_factory, place, change):
    """Or it changes nothing: the padding of the footer is not used, nor is the directory of statistics."""
    prefix = write_bundle(tmp_path_factory.mktemp("bundle") / "model", VARIABLES)
    index = prefix.with_name("model.index")
    expected, content = Bundle(prefix).entries, bytearray(index.read_bytes())
    content[int(place * len(content))] ^= change
    index.write_bytes(content)
    try:
        assert Bundle(prefix).entries == expected
    except UserError as error:
        assert "model.index: damaged" in str(error)


@given(size=st.integers(0, 4000))
def test_a_cut_index_is_refused(tmp_path_factory, size):
    prefix = write_bundle(tmp_path_factory.mktemp("bundle") / "model", VARIABLES)
    index = prefix.with_name("model.index")
    index.write_bytes(index.read_bytes()[: min(size, index.stat().st_size - 1)])
    with pytest.raises(UserError, match=r"model\.index: damaged"):
        Bundle(prefix)


def test_damaged_values_are_found_when_they_are_read(tmp_path):
    prefix = write_bundle(tmp_path / "model", VARIABLES)
    data = tmp_path / "model.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[Bundle(prefix).entries["double"].offset] ^= 1
    data.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged within double"):
        Bundle(prefix).read("double")
    data.write_bytes(content[:-20])
    with pytest.raises(UserError, match=r"ends before or within half"):
        Bundle(prefix).read("half")
    data.unlink()
    with pytest.raises(UserError, match=r"data-00000-of-00001: no such file"):
        Bundle(prefix).read("half")


def test_what_is_no_float_is_not_read(tmp_path):
    with pytest.raises(UserError, match=r"global_step is of TensorFlow's type 9"):
        Bundle(write_bundle(tmp_path / "model", VARIABLES)).read("global_step")


def test_the_writer_of_these_tests_writes_protocol_buffers():
    assert field(1, 150) == b"\x08\x96\x01" and field(2, b"testing") == b"\x12\x07testing"  # the format's own examples
