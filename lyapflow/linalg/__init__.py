"""Matrices, without networks: products, BLAS and LAPACK, elementary functions, QR and its pullback."""
