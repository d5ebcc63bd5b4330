"""Random workflows under random faults for as long as one likes, with exact accounting."""
