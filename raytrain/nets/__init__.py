"""Plain torch modules. Shapes in suffixes: B batch, T steps, F features, H hidden units, O outputs, Q levels."""
