"""The hand as geometry: model, joints, parts, mesh hierarchy, spirals."""
