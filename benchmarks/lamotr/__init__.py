"""LA-MOTR and its learnable association: effect, cost, and the cost of association on real sequences."""
