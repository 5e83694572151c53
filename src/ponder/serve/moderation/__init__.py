"""The site's rules: applied to questions, thoughts and answers as they stream. Off unless a file of rules is given."""
