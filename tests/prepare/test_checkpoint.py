import numpy as np
import pytest

from launcher.errors import ConfigError
from launcher.prepare import checkpoint
from tests.patches.bert import bundles


def test_a_checkpoint_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.ckpt-28252\.index: cannot be read"):
        checkpoint.convert(tmp_path / "model.ckpt-28252", tmp_path)


def test_another_model_is_refused_by_the_first_variable_it_lacks(tmp_path):
    writer = bundles.Writer(tmp_path / "model.ckpt-28252")
    writer.add("bert/pooler/dense/bias", np.zeros(1024, np.float32))
    with pytest.raises(ConfigError, match=r"397 variables are missing.*word_embeddings"):
        checkpoint.convert(writer.finish(), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
