// Package httpcall sends HTTP requests under a policy.
package httpcall
