"""Primitives that are linear in what depends on the argument, by what they do."""

# They move values, repeat or drop them: transposed, they bring back what is carried.
MOVES = frozenset(
    """
    broadcast_in_dim concatenate convert_element_type copy copy_p device_put
    dynamic_slice dynamic_update_slice expand_dims gather optimization_barrier pad
    reshape rev row scatter sharding_constraint slice split squeeze stack
    transpose mesh_cast reshard layout_constraint pvary
    """.split()  # noqa: SIM905
)
# They add values up, all with the same weight.
SUMS = frozenset(
    """
    cumsum psum psum_invariant reduce_sum reduce_window_sum scatter-add scatter_add
    """.split()  # noqa: SIM905
)
# Linear in each of their first two inputs: with a kernel, or with each other.
PRODUCTS = frozenset({"conv_general_dilated", "dot_general"})
# The value of one of several places.
EXTREMES = frozenset(
    {"reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "cummax"}
)
