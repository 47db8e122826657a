"""Which point each cell of a camera sees: the definition in plain torch, and its fast twins."""
