"""What proposes candidates: ask and tell, pymoo behind one door."""
