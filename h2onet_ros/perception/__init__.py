"""From images to hands, without ROS."""
