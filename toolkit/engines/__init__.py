"""Engines in environments of their own, and the models of one operation that engines are tried with."""
