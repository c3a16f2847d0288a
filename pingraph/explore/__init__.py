"""`pingraph explore`: a local page to walk the space of some embeddings.

serve         binds the address, embeds what must be embedded, runs the server
guard         who may ask: hosts, origins, and what a page may do
app           the addresses, and what each answers
question      what an address asks for, checked
explorer      answers: lists of pins, beside each other
columns       the lists, whole: by an embedding, by walks, or plainly found
ranking       all pins in the order of a score, and the filters that pass some of them
cards         what is told of a pin and of a board, and their pictures
given_images  images that were sent to search with
kept          the embeddings of a run, computed once
page.*        the page itself; draw.js makes its elements
"""
