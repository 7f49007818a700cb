"""fast_matmul leaves the user's setting as it was, and never trades exactness."""

import pytest
import torch

from recbole_prorec.nn import matmul
from recbole_prorec.nn.matmul import fast_matmul

SETTING = getattr(torch.backends.mkldnn, "matmul", None)
pytestmark = pytest.mark.skipif(not hasattr(SETTING, "fp32_precision"), reason="this torch has no such setting")


@pytest.fixture(params=["none", "ieee", "tf32", "bf16"])
def setting(request):
    before = SETTING.fp32_precision
    SETTING.fp32_precision = request.param
    yield request.param
    SETTING.fp32_precision = before


@pytest.mark.parametrize("is_exact, inside", [(True, "bf16"), (False, None)])
def test_the_setting_comes_back(setting, is_exact, inside, monkeypatch):
    monkeypatch.setattr(matmul, "_is_exact", lambda: is_exact)
    with fast_matmul("cpu"):
        assert SETTING.fp32_precision == (inside or setting)
    assert SETTING.fp32_precision == setting


def test_the_setting_comes_back_after_an_exception(setting, monkeypatch):
    monkeypatch.setattr(matmul, "_is_exact", lambda: True)
    with pytest.raises(KeyError), fast_matmul("cpu"):
        raise KeyError
    assert SETTING.fp32_precision == setting


def test_the_measurement_leaves_the_setting_alone(setting):
    matmul._is_exact.__wrapped__()
    assert SETTING.fp32_precision == setting


def test_other_devices_are_left_alone(setting, monkeypatch):
    monkeypatch.setattr(matmul, "_is_exact", lambda: True)
    with fast_matmul("cuda"):
        assert SETTING.fp32_precision == setting


def test_products_inside_have_the_error_of_float32():
    a, b = torch.randn(300, 200), torch.randn(200, 100)
    with fast_matmul("cpu"):
        product = a @ b
    exact = a.double() @ b.double()
    assert (product - exact).norm() / exact.norm() < matmul.MAX_RELATIVE_ERROR


def test_an_inexact_way_is_not_taken(monkeypatch):
    monkeypatch.setattr(matmul, "MAX_RELATIVE_ERROR", 0.0)
    assert not matmul._is_exact.__wrapped__()
