package grpccall

// KeyError is for the tests of both sides.
var KeyError = keyError
