# To be sourced: enters the project's virtual environment with its ROS 2 messages. Works for sh and bash.
# Usage, from the checkout's root: . tools/ros_env.sh
. .venv/bin/activate
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
AMENT_PREFIX_PATH="$VIRTUAL_ENV${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
LD_LIBRARY_PATH="$VIRTUAL_ENV/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export AMENT_PREFIX_PATH LD_LIBRARY_PATH
