"""Factorized bilinear pooling against the bilinear form that it factorizes (zhou2019 eq. 8-9)."""

from __future__ import annotations

import pytest
import torch

from avemo.fusion.bilinear import FactorizedBilinearPooling, unit_length

N, A, V, OUTPUTS, FACTORS = 3, 6, 5, 4, 3


def pooling(**settings: object) -> FactorizedBilinearPooling:
    torch.manual_seed(0)
    return FactorizedBilinearPooling(A, V, OUTPUTS, FACTORS, **settings).double().eval()


def vectors() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(N, A, dtype=torch.float64), torch.randn(N, V, dtype=torch.float64)


def test_equals_the_dense_bilinear_form_with_the_same_product_matrices() -> None:
    pool = pooling(bias=False, normalise=False)
    a, v = vectors()
    u_columns = pool.audio.weight.view(OUTPUTS, FACTORS, A)
    v_columns = pool.visual.weight.view(OUTPUTS, FACTORS, V)
    z = pool(a, v)
    for i in range(OUTPUTS):
        dense = sum(torch.outer(u_columns[i, k], v_columns[i, k]) for k in range(FACTORS))  # W_i of eq. 8
        for n in range(N):
            expected = sum(
                a[n, r].item() * dense[r, c].item() * v[n, c].item() for r in range(A) for c in range(V)
            )
            assert z[n, i].item() == pytest.approx(expected, abs=1e-12)


def test_each_output_sums_neighbouring_products_of_the_projections() -> None:
    pool = pooling(normalise=False)
    a, v = vectors()
    products = (a @ pool.audio.weight.T + pool.audio.bias) * (v @ pool.visual.weight.T + pool.visual.bias)
    expected = torch.stack(
        [products[:, i * FACTORS : (i + 1) * FACTORS].sum(dim=1) for i in range(OUTPUTS)], dim=1
    )
    torch.testing.assert_close(pool(a, v), expected, rtol=0, atol=1e-12)


def test_output_has_unit_length() -> None:
    torch.testing.assert_close(pooling()(*vectors()).norm(dim=1), torch.ones(N, dtype=torch.float64))


def test_dropout_comes_before_the_pooling() -> None:
    pool = pooling(normalise=False, dropout=0.5).train()
    for layer in (pool.audio, pool.visual):
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    z = pool(torch.ones(200, A, dtype=torch.float64), torch.ones(200, V, dtype=torch.float64))
    product = A * V / (1 - 0.5)
    assert set(z.unique().tolist()) == {k * product for k in range(FACTORS + 1)}  # 0 to K products left


def test_gradients() -> None:
    a, v = vectors()
    assert torch.autograd.gradcheck(pooling(), (a.requires_grad_(), v.requires_grad_()))


def test_zeros_have_no_length_and_finite_gradients() -> None:
    zeros = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    out = unit_length(zeros)
    assert torch.equal(out, torch.zeros_like(out))
    out.sum().backward()
    assert zeros.grad is not None and zeros.grad.isfinite().all()


def test_a_missing_stream_leaves_the_other_through_the_biases() -> None:
    a, _ = vectors()
    nothing = torch.zeros(N, V, dtype=torch.float64)
    assert torch.equal(pooling(bias=False)(a, nothing), torch.zeros(N, OUTPUTS, dtype=torch.float64))
    z = pooling()(a, nothing)
    assert z.isfinite().all() and not torch.allclose(z[0], z[1])
