import torch

from davae_core.codec.least_squares import LeastSquares


def test_least_squares_recovers_a_linear_map_and_its_noise() -> None:
    torch.manual_seed(0)
    inputs, mix = torch.randn(4000, 3), torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])
    outputs = inputs @ mix + 0.7 + 0.1 * torch.randn(4000, 2)
    squares = LeastSquares(3, 2, torch.device("cpu"))
    for rows in range(0, 4000, 500):
        squares.add(inputs[rows : rows + 500], outputs[rows : rows + 500])
    torch.testing.assert_close(squares.solution()[1:].float(), mix, atol=0.02, rtol=0)
    torch.testing.assert_close(
        squares.solution()[0].float(), torch.full((2,), 0.7), atol=0.02, rtol=0
    )
    wanted = 0.01 * torch.eye(2)
    torch.testing.assert_close(
        squares.residual_covariance(squares.solution()).float(), wanted, atol=2e-3, rtol=0
    )
