"""Jobs that were accepted: flows on TaskFlow's engines, workers, schedules, notifications."""

import warnings

# It comes with oslo.messaging. Libraries import it where it is installed, and it says that it is
# old. Nothing here uses it.
warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')
