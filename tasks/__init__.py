"""What a trained model is used for: tasks on images that a user gives, their input and output."""
