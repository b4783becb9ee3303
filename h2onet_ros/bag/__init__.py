"""Recordings of camera and hands, and their offline evaluation."""
