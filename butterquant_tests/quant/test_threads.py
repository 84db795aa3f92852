"""One thread inside the block, the setting of before outside it."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from butterquant_assets.quant.threads import one_thread


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_linear_algebra_has_one_thread_inside_and_the_former_number_outside():
    with one_thread():
        pass  # loads the libraries
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with one_thread():
            inside = blas_threads()
            with one_thread():
                nested = blas_threads()
        assert len(before) >= 2, "numpy and scipy each bring one"
        assert set(inside) == set(nested) == {1}
        assert blas_threads() == before


def test_the_former_number_comes_back_after_an_error():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(ZeroDivisionError), one_thread():
            _ = 1 / 0
        assert blas_threads() == before
