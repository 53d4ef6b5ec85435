"""One device: its model, batch and KV memory. Imports of this package come before torch's."""

from penstock import envs

envs.calm_openmp()  # here, because every way to torch and its threads leads through this package
