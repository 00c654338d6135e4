"""Matrices, without networks: BLAS and LAPACK, elementary functions, QR and its pullback."""
