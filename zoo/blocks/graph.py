"""What joins the branches of a network."""

import torch.nn as nn
from torch import Tensor


class Branch(nn.Module):
    """Go on from an earlier row's output: a new branch of the network starts there.

    Shape:
        Two tensors of any shapes to the second.

    Example:
        >>> block = zoo.blocks.Branch()
        >>> block(torch.zeros(2, 4), torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """

    def forward(self, x: Tensor, tapped: Tensor) -> Tensor:
        """Take up the branch.

        Args:
            x (Tensor): what the row before gives; it goes no further here.
            tapped (Tensor): the output that the branch starts from.

        Returns:
            `tapped`.
        """
        return tapped
