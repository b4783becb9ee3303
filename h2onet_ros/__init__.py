"""3D hands for robots: H2ONet as a ROS 2 node."""
