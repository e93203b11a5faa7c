"""What rules write into the text of a message: notices, at their placeholders or in a footer of their own."""
