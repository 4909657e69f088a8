"""Factorized bilinear pooling against the bilinear form that it factorizes (zhou2019 eq. 8-9, zhou2021)."""

from __future__ import annotations

import math

import pytest
import torch

from avemo.fusion.heads.bilinear import (
    FactorizedBilinearPooling,
    TrunkBilinearPooling,
    adapted,
    adaption_factors,
    scaled,
    unit_length,
)

N, A, V, OUTPUTS, FACTORS, TRUNKS = 3, 6, 5, 4, 3, 2


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


def trunk_pooling(trunks: int = TRUNKS, **settings: object) -> TrunkBilinearPooling:
    torch.manual_seed(0)
    return TrunkBilinearPooling(A, V, trunks, OUTPUTS, FACTORS, **settings).double().eval()


def trunk_vectors(trunks: int = TRUNKS) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    a, v = torch.randn(N, trunks, A, dtype=torch.float64), torch.randn(N, trunks, V, dtype=torch.float64)
    return a, v, torch.ones(N, trunks, dtype=torch.bool)


@pytest.mark.parametrize("bias", [True, False])
def test_trunks_against_the_equation_as_loops(bias: bool) -> None:
    pool = trunk_pooling(bias=bias)
    a, v, present = trunk_vectors()
    present[1, 0] = False
    z = pool(a, v, present)
    for n in range(N):
        expected = [0.0] * OUTPUTS
        for h in range(TRUNKS):
            for o in range(OUTPUTS):
                for k in range(FACTORS if present[n, h] else 0):
                    row = o * FACTORS + k
                    sides = []
                    for side, x in ((pool.audio, a), (pool.visual, v)):
                        added = side.bias[h, row].item() if bias else 0.0
                        sides.append(
                            added
                            + sum(
                                w * y
                                for w, y in zip(side.weight[h, row].tolist(), x[n, h].tolist(), strict=True)
                            )
                        )
                    expected[o] += sides[0] * sides[1]
        length = math.sqrt(sum(x * x for x in expected))
        assert z[n].tolist() == pytest.approx([x / length for x in expected], abs=1e-12)


def test_one_trunk_is_the_pooling_of_the_whole_clip() -> None:
    trunks, whole = trunk_pooling(1), pooling()
    for name, parameter in whole.state_dict().items():
        trunks.state_dict()[name][0] = parameter
    a, v, present = trunk_vectors(1)
    torch.testing.assert_close(trunks(a, v, present), whole(a[:, 0], v[:, 0]), rtol=0, atol=1e-12)


def test_an_absent_trunk_adds_nothing() -> None:
    a, v, present = trunk_vectors()
    present[:, 1] = False
    z = trunk_pooling()(a, v, present)
    a[:, 1] = 100
    assert torch.equal(trunk_pooling()(a, v, present), z)
    assert not trunk_pooling()(a, v, torch.zeros_like(present)).any()


def test_gradients_of_trunks() -> None:
    a, v, present = trunk_vectors()
    present[0, 1] = False
    pool = trunk_pooling()
    assert torch.autograd.gradcheck(
        lambda a, v: pool(a, v, present), (a.requires_grad_(), v.requires_grad_())
    )


def test_each_trunk_begins_as_a_linear_layer_does() -> None:
    torch.manual_seed(0)
    pool = TrunkBilinearPooling(400, 100, 6, 192, 2)
    for side, inputs in ((pool.audio, 400), (pool.visual, 100)):
        linear = torch.nn.Linear(inputs, 2000)
        for ours, theirs in ((side.weight, linear.weight), (side.bias, linear.bias)):
            assert ours.abs().max() <= inputs**-0.5
            assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.05)


def test_adaption_factors_are_the_vectors_shares_of_length() -> None:
    a, v = vectors()
    mu, eta = adaption_factors(a, v)
    for n in range(N):
        lengths = [math.sqrt(sum(x * x for x in vector[n].tolist())) for vector in (a, v)]
        assert mu[n].item() == pytest.approx(lengths[0] / sum(lengths), abs=1e-12)
        assert eta[n].item() == pytest.approx(lengths[1] / sum(lengths), abs=1e-12)
    torch.testing.assert_close(adapted(a, v)[0], mu * a)
    torch.testing.assert_close(adapted(a, v)[1], eta * v)


def test_adaption_factors_without_a_stream() -> None:
    a, v = vectors()
    zeros = torch.zeros_like(a, requires_grad=True)
    mu, eta = adaption_factors(zeros, v)
    assert not mu.any() and (eta == 1).all()
    mu, eta = adaption_factors(zeros, torch.zeros_like(v))
    assert not mu.any() and not eta.any()
    (mu + eta).sum().backward()
    assert zeros.grad is not None and zeros.grad.isfinite().all()


def test_gradients_of_adaption() -> None:
    a, v = vectors()
    assert torch.autograd.gradcheck(adapted, (a.requires_grad_(), v.requires_grad_()))


def test_adaption_is_undone_by_the_length_where_there_are_no_biases() -> None:
    a, v = vectors()
    plain, norm = pooling(bias=False), pooling(bias=False, normalise=False)
    torch.testing.assert_close(plain(*adapted(a, v)), plain(a, v), rtol=0, atol=1e-12)
    mu, eta = adaption_factors(a, v)
    torch.testing.assert_close(norm(*adapted(a, v)), mu * eta * norm(a, v), rtol=0, atol=1e-12)
    assert not torch.allclose(norm(*adapted(a, v)), norm(a, v), atol=1e-3)
    biased = pooling()
    assert not torch.allclose(biased(*adapted(a, v)), biased(a, v), atol=1e-3)


def test_the_signed_square_root() -> None:
    z = torch.tensor([[4.0, -9.0, 0.0, 0.25]], dtype=torch.float64, requires_grad=True)
    out = scaled(z, signed_sqrt=True, normalise=False)
    assert out.tolist() == [[2.0, -3.0, 0.0, 0.5]]
    out.sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()
    values = z.detach()[:, [0, 1, 3]].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: scaled(x, True, True), values)
