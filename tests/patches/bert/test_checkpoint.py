import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bert import checkpoint, convert
from bert.checkpoint import view
from bert.config import Sizes
from bert.convert import tf2_name
from bert.crc32c import crc32c
from bert.tensor_bundle import BundleError, TensorBundle
from bert.variables import variables
from safetensors.numpy import load_file

from pytorch_common.failure import RunError
from tests.patches.bert import bundles, small
from tests.patches.bert.small import network

SIZES = small.config().model


def values_of(sizes, seed=0):
    generator = np.random.default_rng(seed)
    return {v.name: generator.normal(size=v.shape).astype(np.float32) for v in variables(sizes)}


def write_tf1(prefix, values, *, moments=True):
    writer = bundles.Writer(prefix)
    for name, value in values.items():
        writer.add(name, value)
        if moments:
            writer.add(f"{name}/LAMB", value)
            writer.add(f"{name}/LAMB_1", value)
    writer.add("beta1_power", np.float32(0.5))
    writer.add("beta2_power", np.float32(0.5))
    writer.add("global_step", np.int64(28252))
    return writer.finish()


def write_tf2(prefix, values, heads):
    writer, names = bundles.Writer(prefix), {}
    for number, (name, value) in enumerate(values.items()):
        full, key = tf2_name(name), f"model/w-{number}/.ATTRIBUTES/VARIABLE_VALUE"
        shape = value.shape
        if "/self/" in name:
            shape = (*shape[:-1], heads, -1)
        elif "attention/output/dense/kernel" in name:
            shape = (heads, -1, shape[-1])
        turned = name == "cls/seq_relationship/output_weights"
        writer.add(key, value.T if turned else value.reshape(shape))
        names[f"bert/{full}" if "cls/predictions" in name else full] = key.encode()
    writer.add("save_counter/.ATTRIBUTES/VARIABLE_VALUE", np.int64(1))
    writer.add_string("_CHECKPOINTABLE_OBJECT_GRAPH", bundles.object_graph(names))
    return writer.finish()


@pytest.mark.parametrize(
    ("data", "wanted"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_crc32c_gives_the_values_of_rfc_3720(data, wanted):
    assert crc32c(data) == wanted


def test_crc32c_of_long_data_equals_that_of_its_bytes_one_by_one():
    data = np.random.default_rng(0).integers(0, 256, 2**21 + 12345, dtype=np.uint8)
    crc, table = 0xFFFFFFFF, [0] * 256
    for octet in range(256):
        value = octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table[octet] = value
    for octet in data.tolist():
        crc = crc >> 8 ^ table[(crc ^ octet) & 0xFF]
    assert crc32c(data) == crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("form", ["tf1", "tf2"])
def test_both_forms_convert_bit_by_bit(tmp_path, form):
    values = values_of(SIZES)
    prefix = tmp_path / "model.ckpt-28252"
    if form == "tf1":
        write_tf1(prefix, values)
    else:
        write_tf2(prefix, values, SIZES.num_attention_heads)
    path = convert.convert(prefix, tmp_path / "out", SIZES)
    found = load_file(path)
    assert found.keys() == values.keys()
    for name, value in values.items():
        assert found[name].tobytes() == value.tobytes(), name


def test_a_model_gets_every_variable_at_its_place_and_gives_it_back(tmp_path):
    values = values_of(SIZES)
    convert.convert(write_tf1(tmp_path / "ckpt", values), tmp_path, SIZES)
    model = network(small.config())
    checkpoint.load(model, tmp_path)
    kernel = values["bert/encoder/layer_1/attention/self/value/kernel"]
    hidden = SIZES.hidden_size
    fused = model.layers[1].qkv.weight.detach().numpy()
    assert (fused[2 * hidden :] == kernel.T).all()
    for variable in variables(SIZES):
        mine = view(model, variable).detach().numpy()
        theirs = values[variable.name]
        assert (mine == (theirs.T if variable.transposed else theirs)).all(), variable.name
    assert (model.output_bias[SIZES.vocab_size :] == -10000).all()
    again = load_file(checkpoint.save(model, tmp_path / "again"))
    assert all(again[name].tobytes() == value.tobytes() for name, value in values.items())


def test_a_missing_variable_is_named(tmp_path):
    values = values_of(SIZES)
    del values["cls/predictions/output_bias"]
    prefix = write_tf1(tmp_path / "ckpt", values)
    with pytest.raises(BundleError, match=r"1 variables are missing.*cls/predictions/output_bias"):
        convert.convert(prefix, tmp_path, SIZES)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_misshapen_variable_is_named(tmp_path):
    values = values_of(SIZES)
    values["bert/embeddings/word_embeddings"] = np.zeros((100, 24), np.float32)
    prefix = write_tf1(tmp_path / "ckpt", values)
    with pytest.raises(BundleError, match=r"word_embeddings is float32\[100, 24\].*\[101, 24\]"):
        convert.convert(prefix, tmp_path, SIZES)


def test_a_variable_too_many_is_named(tmp_path):
    values = values_of(SIZES) | {"bert/encoder/layer_2/output/dense/bias": np.zeros(3, np.float32)}
    prefix = write_tf1(tmp_path / "ckpt", values)
    with pytest.raises(BundleError, match=r"belong to no variable.*layer_2"):
        convert.convert(prefix, tmp_path, SIZES)


def test_a_flipped_bit_in_the_data_or_the_index_is_noticed(tmp_path):
    prefix = write_tf1(tmp_path / "ckpt", values_of(SIZES))
    data, index = Path(f"{prefix}.data-00000-of-00001"), Path(f"{prefix}.index")
    good = data.read_bytes()
    data.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(BundleError, match="damaged"):
        convert.convert(prefix, tmp_path, SIZES)
    data.write_bytes(good[:100])
    with pytest.raises(BundleError, match="cut short"):
        convert.convert(prefix, tmp_path, SIZES)
    index.write_bytes(bytes([index.read_bytes()[0] ^ 1]) + index.read_bytes()[1:])
    with pytest.raises(BundleError, match="damaged"):
        TensorBundle(prefix)
    index.write_bytes(b"nothing")
    with pytest.raises(BundleError, match="is not a TensorFlow checkpoint index"):
        TensorBundle(prefix)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"none\.index: cannot be read"):
        TensorBundle(tmp_path / "none")


def test_a_converted_file_of_other_sizes_is_refused_before_training(tmp_path):
    convert.convert(write_tf1(tmp_path / "ckpt", values_of(SIZES)), tmp_path, SIZES)
    with pytest.raises(RunError, match=r"word_embeddings has the shape \[101, 24\]"):
        checkpoint.load(network(small.config(model={"vocab_size": 90})), tmp_path)
    with pytest.raises(RunError, match="layer_2"):
        checkpoint.load(network(small.config(model={"num_hidden_layers": 3})), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing at all")
    with pytest.raises(RunError, match=r"bert\.convert"):
        checkpoint.load(network(small.config()), tmp_path)


@pytest.mark.tensorflow
def test_a_checkpoint_that_tensorflow_wrote_reads_the_same(tmp_path, tensorflow_python):
    script = """
import sys, numpy as np, tensorflow as tf
tf1 = tf.compat.v1
with tf.Graph().as_default(), tf1.Session() as session:
    for name, value in np.load(sys.argv[1]).items():
        tf1.get_variable(name, initializer=value)
        tf1.get_variable(name + "/LAMB", initializer=value)
        tf1.get_variable(name + "/LAMB_1", initializer=value)
    tf1.get_variable("global_step", initializer=np.int64(28252))
    session.run(tf1.global_variables_initializer())
    tf1.train.Saver().save(session, sys.argv[2])
"""
    values = values_of(SIZES)
    np.savez(tmp_path / "values.npz", **values)
    prefix = tmp_path / "model.ckpt-28252"
    command = [tensorflow_python, "-c", script, tmp_path / "values.npz", prefix]
    subprocess.run(command, check=True, capture_output=True)
    found = load_file(convert.convert(prefix, tmp_path / "out", SIZES))
    assert all(found[name].tobytes() == value.tobytes() for name, value in values.items())


@pytest.mark.tensorflow
def test_an_object_checkpoint_that_tensorflow_wrote_reads_the_same(tmp_path, tensorflow_python):
    script = """
import sys, numpy as np, tensorflow as tf
values = np.load(sys.argv[1])
model = tf.Module()
for number, name in enumerate(values):
    setattr(model, f"w{number}", tf.Variable(values[name], name=name))
tf.train.Checkpoint(model=model).save(sys.argv[2])
"""
    values = {tf2_name(name): value for name, value in values_of(SIZES).items()}
    values["predictions/transform/logits/kernel"] = values["predictions/transform/logits/kernel"].T
    np.savez(tmp_path / "values.npz", **values)
    command = [tensorflow_python, "-c", script, tmp_path / "values.npz", tmp_path / "ckpt"]
    subprocess.run(command, check=True, capture_output=True)
    found = load_file(convert.convert(tmp_path / "ckpt-1", tmp_path / "out", SIZES))
    for name, value in values_of(SIZES).items():
        assert found[name].tobytes() == value.tobytes(), name


@pytest.mark.slow
def test_a_full_size_checkpoint_with_moments_converts_in_bounded_memory(tmp_path):
    noise = np.random.default_rng(0).normal(size=1 << 20).astype(np.float32)
    writer, sums = bundles.Writer(tmp_path / "model.ckpt-28252"), {}
    for number, variable in enumerate(variables(Sizes())):
        values = np.resize(np.roll(noise, number), variable.shape)
        sums[variable.name] = crc32c(values.reshape(-1).view(np.uint8))
        writer.add(variable.name, values)
        for slot in ("LAMB", "LAMB_1"):
            writer.add(f"{variable.name}/{slot}", values, checksum=False)
    writer.add("beta1_power", np.float32(0.5))
    writer.add("beta2_power", np.float32(0.5))
    writer.add("global_step", np.int64(28252))
    prefix = writer.finish()
    assert Path(f"{prefix}.data-00000-of-00001").stat().st_size == 4_034_713_312
    command = [sys.executable, "-m", "bert.convert", prefix, tmp_path / "out"]
    paths = [p for p in sys.path if p.endswith(("pytorch", "common/files"))]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={"PYTHONPATH": ":".join(paths)}
    )
    assert "398 variables, 336,226,108 values" in done.stdout
    peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert peak_bytes < 1e9, f"{peak_bytes:,} bytes"
    with checkpoint.safe_open(tmp_path / "out/model.safetensors", framework="np") as file:
        for name, wanted in sums.items():
            assert crc32c(file.get_tensor(name).reshape(-1).view(np.uint8)) == wanted, name
