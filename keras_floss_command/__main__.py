"""`python -m keras_floss_command`, the same as `keras-floss`."""

import sys

from keras_floss_command.main import main

sys.exit(main())
