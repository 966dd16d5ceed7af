"""LIBERO's manipulation tasks [Liu et al. 2023, arXiv:2306.03310] as Gymnasium environments."""
