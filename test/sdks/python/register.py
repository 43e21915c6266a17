"""Makes a device anew with the registry manager and prints its connection string."""
import sys

from checks import register

print(register(sys.argv[1]))
