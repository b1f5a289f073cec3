"""Propagation: a score walked back through the function that made it.

A gradient goes backwards through a function by one rule for each primitive, the chain
rule. DeepLIFT and LRP go the same way by other rules, and need nothing of a network but
that JAX can trace it: any function becomes a list of primitives, a jaxpr.

* `graph` writes that list down flat: calls, `jit`, `remat`, custom derivatives, `cond`
  and `scan` are entered.
* `walking` computes every value forwards, and carries an array a value backwards.
* `elementwise` knows which values are a function of one other value, place by place:
  ReLU, GELU, and the arithmetic of a batch norm.
* `deep_lift` carries multipliers, the change of the score for a change of the value;
  `lrp` carries relevance, a share of the score, by rules of `relevance_rules`.

A primitive without a rule is refused by its name and the line that called it: passed
through in silence, it would make a map that looks right.
"""
